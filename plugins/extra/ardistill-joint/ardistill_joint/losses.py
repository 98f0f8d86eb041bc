"""The losses of the second phase.

Shape legend: M draws, B batch, L tokens, V codes, C code width. x_t = (1 - t) q + t eps.
"""

import torch
from torch import Tensor

from ardistill.flow import interpolate, posterior_mean


def straight_through(logits_BLV: Tensor, codes_VC: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens (B, L), and their codes (B, L, C) whose gradient is that of the mean code under the softmax."""
    tokens_BL = logits_BLV.argmax(-1)
    mean_BLC = logits_BLV.softmax(-1) @ codes_VC
    return tokens_BL, mean_BLC + (codes_VC[tokens_BL] - mean_BLC).detach()


def score_distillation(
    q_BLC: Tensor,
    eps_MBLC: Tensor,
    t_MBL: Tensor,
    teacher_BLV: Tensor,
    guidance_BLV: Tensor,
    codes_VC: Tensor,
    *,
    alpha: float,
) -> Tensor:
    """SiD's loss between two conditional distributions over codes (DD2, equation 4; SiD, 2404.04057).

    Both scores are closed forms of log-probabilities that are handed in without gradient.
    """
    x_MBLC = interpolate(q_BLC, eps_MBLC, t_MBL)
    teacher_MBLC = posterior_mean(x_MBLC, t_MBL, teacher_BLV, codes_VC)
    gap_MBLC = teacher_MBLC - posterior_mean(x_MBLC, t_MBL, guidance_BLV, codes_VC)
    with torch.no_grad():
        weight_MB11 = 1 / ((q_BLC - teacher_MBLC).abs().mean((-2, -1), keepdim=True) + 0.01)
    return (weight_MB11 * gap_MBLC * ((teacher_MBLC - q_BLC) - alpha * gap_MBLC)).mean()
