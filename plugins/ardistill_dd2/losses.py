"""DD2's three losses, each one formula of the paper (arXiv 2510.21003), for one batch.

Shape legend: M draws, B batch, L tokens, V codes, C code width, D trunk width. q are clean vectors (codes, or the
generator's output), x_t = (1 - t) q + t eps.
"""

import torch
from torch import Tensor

from ardistill.flow import interpolate, mean_from_velocity, posterior_mean
from ardistill_dd2.student import ARDiffusion


def ground_truth_score(
    model: ARDiffusion,
    features_BLD: Tensor,
    q_BLC: Tensor,
    eps_MBLC: Tensor,
    t_MBL: Tensor,
    log_p_BLV: Tensor,
    codes_VC: Tensor,
) -> Tensor:
    """GTS, equation 6, as a regression of velocity: the target is the teacher's own posterior mean."""
    x_MBLC = interpolate(q_BLC, eps_MBLC, t_MBL)
    with torch.no_grad():
        target_MBLC = (x_MBLC - posterior_mean(x_MBLC, t_MBL, log_p_BLV, codes_VC)) / t_MBL.unsqueeze(-1)
    return (model.velocity(x_MBLC, t_MBL, features_BLD) - target_MBLC).square().mean()


def fake_score(
    model: ARDiffusion, features_BLD: Tensor, q_BLC: Tensor, eps_MBLC: Tensor, t_MBL: Tensor
) -> Tensor:
    """FCS, equation 5, as a regression of velocity: the target is eps - q of the generator's samples."""
    x_MBLC = interpolate(q_BLC, eps_MBLC, t_MBL)
    return (model.velocity(x_MBLC, t_MBL, features_BLD) - (eps_MBLC - q_BLC)).square().mean()


def conditional_score_distillation(
    guidance: ARDiffusion,
    guidance_features_BLD: Tensor,
    q_BLC: Tensor,
    eps_MBLC: Tensor,
    t_MBL: Tensor,
    log_p_BLV: Tensor,
    codes_VC: Tensor,
    *,
    form: str,
    alpha: float,
) -> Tensor:
    """CSD, equation 4: pulls q so that the guidance network's conditional score becomes the teacher's.

    `form="sid"` is SiD's loss (x0_T - x0_g) . ((x0_T - q) - alpha (x0_T - x0_g)), differentiated through x_t in both
    scores; `form="dmd"` takes x0_g - x0_T as q's gradient. Both are weighted per sample by 1 / mean|q - x0_T|, as SiD's
    authors do. `log_p_BLV` and `guidance_features_BLD` are conditions: the caller hands them in without gradient.
    """
    x_MBLC = interpolate(q_BLC if form == "sid" else q_BLC.detach(), eps_MBLC, t_MBL)
    teacher_MBLC = posterior_mean(x_MBLC, t_MBL, log_p_BLV, codes_VC)
    guidance_MBLC = mean_from_velocity(x_MBLC, t_MBL, guidance.velocity(x_MBLC, t_MBL, guidance_features_BLD))
    gap_MBLC = teacher_MBLC - guidance_MBLC
    with torch.no_grad():
        weight_MB11 = 1 / ((q_BLC - teacher_MBLC).abs().mean((-2, -1), keepdim=True) + 0.01)
    if form == "sid":
        return (weight_MB11 * gap_MBLC * ((teacher_MBLC - q_BLC) - alpha * gap_MBLC)).mean()
    return -(weight_MB11 * gap_MBLC.detach() * q_BLC).mean()
