"""The mathematics both methods share: rectified flow from noise to a mixture of Diracs on the codebook.

At one position the teacher's distribution is sum_j p_j delta(c_j). Noising it as x_t = (1 - t) c + t eps gives a
Gaussian mixture whose posterior mean, score and velocity are closed forms of (p, codebook): equation 1 of DD2 (arXiv
2510.21003), and the flow DD1 (arXiv 2412.17153) integrates to tie noise to tokens. t = 0 is data, t = 1 is noise.

Shape legend: N any leading shape (B, L or B, L with draws before it), V codes, C code width. `t_N` may broadcast.
In `ode_map`, M is N as one, R a chunk of it, A = C + 1.
Everything is computed in float32 with autocast off; the largest tensor is (N, V).

Precision: weights carry an error of about 1e-7 |c|^2 / t^2 in the log, which at t = 1e-3 blurs only codes closer to
one another than a few t.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ardistill.solvers import DEFAULT_EVALUATIONS, DEFAULT_SOLVER, Solver

_CHUNK_CPU, _CHUNK_GPU = 1 << 20, 1 << 26
"""Numbers in each of the two buffers of an ODE solve: what caches hold, and what keeps a GPU busy (256 MB)."""


def interpolate(data_NC: Tensor, noise_NC: Tensor, t_N: Tensor) -> Tensor:
    """x_t = (1 - t) data + t noise."""
    t_N1 = t_N.unsqueeze(-1)
    return (1 - t_N1) * data_NC + t_N1 * noise_NC


def posterior_log_weights(x_NC: Tensor, t_N: Tensor, log_p_NV: Tensor, codes_VC: Tensor) -> Tensor:
    """(N, V): log P(code j | x_t), the teacher's log p_j reweighted by how well code j explains x_t.

    log w_j = log p_j - |x_t - (1-t) c_j|^2 / (2 t^2) + const, by one matrix product; differentiable in x_t.
    """
    with torch.autocast(x_NC.device.type, enabled=False):
        x_NC, codes_VC = x_NC.float(), codes_VC.float()
        t_N1 = t_N.float().unsqueeze(-1)
        a_N1 = (1 - t_N1) / t_N1.square()
        half_norm_V = 0.5 * codes_VC.square().sum(-1)
        fit_NV = (a_N1 * x_NC) @ codes_VC.T - a_N1 * (1 - t_N1) * half_norm_V
        return torch.log_softmax(log_p_NV.float() + fit_NV, dim=-1)


def posterior_mean(x_NC: Tensor, t_N: Tensor, log_p_NV: Tensor, codes_VC: Tensor) -> Tensor:
    """(N, C): E[c | x_t], the best guess of the data."""
    with torch.autocast(x_NC.device.type, enabled=False):
        return posterior_log_weights(x_NC, t_N, log_p_NV, codes_VC).exp() @ codes_VC.float()


def score(x_NC: Tensor, t_N: Tensor, mean_NC: Tensor) -> Tensor:
    """grad_x log p_t(x) = -(x_t - (1-t) E[c | x_t]) / t^2 (DD2, equation 1)."""
    t_N1 = t_N.unsqueeze(-1)
    return -(x_NC - (1 - t_N1) * mean_NC) / t_N1.square()


def velocity(x_NC: Tensor, t_N: Tensor, mean_NC: Tensor) -> Tensor:
    """dx/dt = E[eps - c | x_t] = (x_t - E[c | x_t]) / t."""
    return (x_NC - mean_NC) / t_N.unsqueeze(-1)


def velocity_from_score(x_NC: Tensor, t_N: Tensor, score_NC: Tensor) -> Tensor:
    """dx/dt = (-t s - x_t) / (1 - t) (DD2, appendix E.1); t < 1."""
    t_N1 = t_N.unsqueeze(-1)
    return (-t_N1 * score_NC - x_NC) / (1 - t_N1)


def mean_from_velocity(x_NC: Tensor, t_N: Tensor, velocity_NC: Tensor) -> Tensor:
    """E[c | x_t] = x_t - t v."""
    return x_NC - t_N.unsqueeze(-1) * velocity_NC


@torch.no_grad()
def ode_map(
    noise_NC: Tensor,
    log_p_NV: Tensor,
    codes_VC: Tensor,
    *,
    evaluations: int = DEFAULT_EVALUATIONS,
    solver: Solver = DEFAULT_SOLVER,
) -> Tensor:
    """(N,) int64: the token that the probability flow carries each noise vector to; its marginal is p.

    The leading shapes of noise and `log_p` broadcast. The exact map does not change where codes are moved or scaled,
    which only moves x and shifts time, so it is solved for codes of mean 0 and deviation 1, from t = 1 on a uniform
    grid whose last time is one step above 0. `evaluations` counts posteriors: one a step for euler and multistep, two
    for heun, one at the last time. docs/ode.md measures what they cost. The token is the mode of the last posterior,
    so it never leaves the support of p. Rows are taken in chunks, which bounds the memory beside the inputs' own.

    Raises ValueError for fewer than one evaluation.
    """
    if evaluations < 1:
        raise ValueError(f"an ODE solve needs at least one evaluation, not {evaluations}")
    steps = (evaluations + 1) // 2 if solver == "heun" else evaluations
    times = [1 - step / steps for step in range(steps)]
    solvers: Mapping[Solver, Callable[[_Posterior, Tensor, Tensor, Sequence[float]], Tensor]] = {
        "euler": partial(_by_steps, bent=False),
        "heun": _by_heun,
        "multistep": partial(_by_steps, bent=True),
    }
    shape = np.broadcast_shapes(noise_NC.shape[:-1], log_p_NV.shape[:-1])
    noise_MC = noise_NC.float().expand(*shape, -1).reshape(-1, noise_NC.shape[-1])
    log_p_MV = log_p_NV.float().expand(*shape, -1).reshape(-1, log_p_NV.shape[-1])
    tokens_M = torch.empty(len(noise_MC), dtype=torch.int64, device=noise_MC.device)
    with torch.autocast(noise_NC.device.type, enabled=False):
        posterior = _Posterior(codes_VC.float(), len(noise_MC))
        for start in range(0, len(noise_MC), posterior.rows):
            rows = slice(start, start + posterior.rows)
            y_RA = solvers[solver](posterior, F.pad(noise_MC[rows], (0, 1)), log_p_MV[rows], times)
            tokens_M[rows] = posterior.logits(y_RA, times[-1], log_p_MV[rows]).argmax(-1)
    return tokens_M.reshape(shape)


class _Posterior:
    """The posterior over codes for a chunk of R rows, lean: a matrix product and a softmax, into buffers of its own.

    A state is y_RA = (x_t / t, -r / 2) with r = (1 - t) / t and A = C + 1. So log w_j = log p_j + r y . c_j where |c|^2
    is a code's last entry, and dy/dr = E[c | x_t] where -1/2 is a code's last entry, since weights sum to 1.
    """

    def __init__(self, codes_VC: Tensor, n_rows: int) -> None:
        codes_VC = codes_VC - codes_VC.mean(0)
        codes_VC = codes_VC / codes_VC.square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        self.read_AV = torch.cat([codes_VC, codes_VC.square().sum(-1, keepdim=True)], dim=-1).T.contiguous()
        # Both lie by entries, not by codes: a product with few columns is twice as fast so on a CPU.
        self.write_AV = torch.cat([codes_VC, torch.full_like(codes_VC[:, :1], -0.5)], dim=-1).T.contiguous()
        chunk = _CHUNK_CPU if codes_VC.device.type == "cpu" else _CHUNK_GPU
        self.rows = max(1, min(n_rows, chunk // len(codes_VC)))
        self._logits_RV, self._weights_RV = codes_VC.new_empty(2, self.rows, len(codes_VC))

    def logits(self, y_RA: Tensor, t: float, log_p_RV: Tensor) -> Tensor:
        """(R, V): the weights' logarithms, not normalised; good until the next call."""
        return torch.addmm(log_p_RV, y_RA, self.read_AV, alpha=1 / t - 1, out=self._logits_RV[: len(y_RA)])

    def moved(self, base_RA: Tensor, gain: float, y_RA: Tensor, t: float, log_p_RV: Tensor) -> Tensor:
        """(R, A): `base` plus `gain` times dy/dr at (y, t)."""
        weights_RV = self._weights_RV[: len(y_RA)]
        torch.softmax(self.logits(y_RA, t, log_p_RV), -1, out=weights_RV)
        return torch.addmm(base_RA, weights_RV, self.write_AV.T, alpha=gain)


def _by_steps(
    posterior: _Posterior, y_RA: Tensor, log_p_RV: Tensor, times: Sequence[float], *, bent: bool
) -> Tensor:
    """The state at the last time, each step solved exactly for a mean D that stays, or if `bent` is linear in t.

    With k = t / t', a step to t' adds (k - 1) / t D: Euler's rule. If `bent` it adds (k - 1 - log k) / (t_before - t)
    (D - D_before), too: Adams and Bashforth's rule of order 2 for data prediction. The first step has no D_before.
    """
    bends = [0.0] * len(times)
    if bent:
        bends[1:-1] = [
            (t / t_next - 1 - math.log(t / t_next)) / (before - t)
            for before, t, t_next in zip(times, times[1:], times[2:], strict=False)
        ]
    base_RA = y_RA
    for (t, t_next), bend, next_bend in zip(pairwise(times), bends, bends[1:], strict=False):
        gain = (t / t_next - 1) / t + bend
        y_RA, before_RA = posterior.moved(base_RA, gain, y_RA, t, log_p_RV), base_RA
        # What the next step takes back is -next_bend D, and D is (y - before) / gain.
        base_RA = torch.lerp(y_RA, before_RA, next_bend / gain)
    return y_RA


def _by_heun(posterior: _Posterior, y_RA: Tensor, log_p_RV: Tensor, times: Sequence[float]) -> Tensor:
    """The state at the last time, by Heun's rule for dx/dt = (x - D) / t, written in y = x / t."""
    for t, t_next in pairwise(times):
        k = t / t_next
        gain = (k - 1) / t
        ahead_RA = posterior.moved(y_RA, gain, y_RA, t, log_p_RV)
        base_RA = torch.lerp(ahead_RA, y_RA, k / 2)
        y_RA = posterior.moved(base_RA, gain * k / 2, ahead_RA, t_next, log_p_RV)
    return y_RA


def nearest_code(vectors_NC: Tensor, codes_VC: Tensor) -> Tensor:
    """(N,) int64: the index of the nearest code, by |c|^2 - 2 x.c and one matrix product; first on ties."""
    with torch.autocast(vectors_NC.device.type, enabled=False):
        codes_VC = codes_VC.float()
        return (
            torch.addmm(codes_VC.square().sum(-1), vectors_NC.float().flatten(0, -2), codes_VC.T, alpha=-2)
            .argmin(-1)
            .reshape(vectors_NC.shape[:-1])
        )
