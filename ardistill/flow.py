"""The mathematics both methods share: rectified flow from noise to a mixture of Diracs on the codebook.

At one position the teacher's distribution is sum_j p_j delta(c_j). Noising it as x_t = (1 - t) c + t eps gives a
Gaussian mixture whose posterior mean, score and velocity are closed forms of (p, codebook): equation 1 of DD2 (arXiv
2510.21003), and the flow DD1 (arXiv 2412.17153) integrates to tie noise to tokens. t = 0 is data, t = 1 is noise.

Shape legend: N any leading shape (B, L or B, L with draws before it), V codes, C code width. `t_N` may broadcast.
In `ode_map`, M is N as one, R a chunk of it, A = C + 1.
Everything is computed in float32 with autocast off; the largest tensor is (N, V), or a piece of it.

Precision: weights carry an error of about 1e-7 |c|^2 / t^2 in the log, which at t = 1e-3 blurs only codes closer to
one another than a few t.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise, repeat

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ardistill.posteriors import Codes, Few, Posterior, Whole
from ardistill.solvers import DEFAULT_EVALUATIONS, DEFAULT_SOLVER, Solver

_PIECE = 1 << 24
"""Numbers in a piece of a posterior mean (64 MB), of which some six are in memory at once; smaller ones would leave a
CPU's heap in fragments."""


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
    """(N, C): E[c | x_t], the best guess of the data.

    Where (N, V) is large, it is made piece by piece, and where gradients are due once more on the way back: what is in
    memory beside inputs and result is a few pieces (less than 1 GiB), however long N is.
    """

    def mean(x_NC: Tensor, t_N: Tensor, log_p_NV: Tensor) -> Tensor:
        with torch.autocast(x_NC.device.type, enabled=False):
            return posterior_log_weights(x_NC, t_N, log_p_NV, codes_VC).exp() @ codes_VC.float()

    rows = max(1, _PIECE // len(codes_VC))
    if math.prod(np.broadcast_shapes(x_NC.shape[:-1], t_N.shape, log_p_NV.shape[:-1])) <= rows:
        return mean(x_NC, t_N, log_p_NV)
    twice = partial(checkpoint, mean, use_reentrant=False, preserve_rng_state=False)
    return _in_pieces(twice if torch.is_grad_enabled() else mean, rows, x_NC, t_N, log_p_NV)


def _in_pieces(call: Callable[..., Tensor], rows: int, x_NC: Tensor, t_N: Tensor, log_p_NV: Tensor) -> Tensor:
    """(N, C): what `call` makes of pieces of at most so many rows, which are views of what it is given."""
    shape = np.broadcast_shapes(x_NC.shape[:-1], t_N.shape, log_p_NV.shape[:-1])
    if (total := math.prod(shape)) <= rows:
        return call(x_NC, t_N, log_p_NV)
    longest = max(shape)
    axis = shape.index(longest) - len(shape)  # counted from the end, as shapes broadcast
    size = -(-longest // -(-total // rows))

    def pieces(whole: Tensor, axis: int) -> Iterable[Tensor]:
        there = whole.dim() >= -axis and whole.shape[axis] > 1
        return torch.split(whole, size, axis) if there else repeat(whole, -(-longest // size))

    parts = zip(pieces(x_NC, axis - 1), pieces(t_N, axis), pieces(log_p_NV, axis - 1), strict=True)
    return torch.cat([_in_pieces(call, rows, *part) for part in parts], dim=axis - 1)


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
    restricted: bool = False,
    compiled: bool = False,
) -> Tensor:
    """(N,) int64: the token that the probability flow carries each noise vector to; its marginal is p.

    The leading shapes of noise and `log_p` broadcast. The exact map does not change where codes are moved or scaled,
    which only moves x and shifts time, so it is solved for codes of mean 0 and deviation 1, from t = 1 on a uniform
    grid whose last time is one step above 0. `evaluations` counts posteriors: one a step for euler and multistep, two
    for heun, one at the last time. docs/ode.md measures what they cost. The token is the mode of the last posterior,
    so it never leaves the support of p. Rows are taken in chunks, which bounds the memory beside the inputs' own.

    `restricted` tells that p may leave most codes out, as top-k does: rows of few codes are then solved over those
    alone, where that was measured to be faster. `compiled` has torch.compile make the step over all codes. Neither
    changes tokens but where two codes tie to the last digits. While a program is exported there are no chunks, and
    neither of the two.

    Raises ValueError for fewer than one evaluation.
    """
    if evaluations < 1:
        raise ValueError(f"an ODE solve needs at least one evaluation, not {evaluations}")
    steps = (evaluations + 1) // 2 if solver == "heun" else evaluations
    times = [1 - step / steps for step in range(steps)]
    solvers: Mapping[Solver, Callable[[Posterior, Tensor, Sequence[float]], Tensor]] = {
        "euler": partial(_by_steps, bent=False),
        "heun": _by_heun,
        "multistep": partial(_by_steps, bent=True),
    }
    shape = torch.broadcast_shapes(noise_NC.shape[:-1], log_p_NV.shape[:-1])  # type: ignore[no-untyped-call]
    noise_NC, log_p_NV = noise_NC.expand(*shape, -1), log_p_NV.expand(*shape, -1)

    def solved(posterior: Posterior, noise_RC: Tensor) -> Tensor:
        y_RA = solvers[solver](posterior, F.pad(noise_RC.float(), (0, 1)), times)
        return posterior.tokens(y_RA, times[-1])

    def rows(whole_NX: Tensor, places_R: Tensor) -> Tensor:
        return whole_NX[torch.unravel_index(places_R, shape)] if shape else whole_NX.unsqueeze(0)

    with torch.autocast(noise_NC.device.type, enabled=False):
        exporting = torch.compiler.is_exporting()
        n_rows = 0 if exporting else math.prod(shape)
        codes = Codes(codes_VC.float(), n_rows, compiled=compiled and not exporting)
        restricted = restricted and codes.most_of_few > 0
        if exporting or (n_rows <= codes.rows and not restricted):
            posterior: Posterior = Whole(codes, log_p_NV.float().reshape(-1, len(codes_VC)))
            return solved(posterior, noise_NC.reshape(-1, noise_NC.shape[-1])).reshape(shape)
        tokens_M = torch.empty(n_rows, dtype=torch.int64, device=noise_NC.device)
        whole_M = torch.arange(n_rows, device=noise_NC.device)
        chunks_of_few: Iterable[Tensor] = ()
        if restricted:
            sizes = [(rows(log_p_NV, R) != -math.inf).sum(-1) for R in torch.split(whole_M, codes.rows)]
            whole_M, chunks_of_few = codes.apart(torch.cat(sizes))
        for places_R in torch.split(whole_M, codes.rows):
            posterior = Whole(codes, rows(log_p_NV, places_R).float())
            tokens_M[places_R] = solved(posterior, rows(noise_NC, places_R))
        for places_R in chunks_of_few:
            posterior = Few(codes, rows(log_p_NV, places_R).float())
            tokens_M[places_R] = solved(posterior, rows(noise_NC, places_R))
    return tokens_M.reshape(shape)


def _by_steps(posterior: Posterior, y_RA: Tensor, times: Sequence[float], *, bent: bool) -> Tensor:
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
        y_RA, before_RA = posterior.moved(base_RA, gain, y_RA, t), base_RA
        # What the next step takes back is -next_bend D, and D is (y - before) / gain.
        base_RA = torch.lerp(y_RA, before_RA, next_bend / gain)
    return y_RA


def _by_heun(posterior: Posterior, y_RA: Tensor, times: Sequence[float]) -> Tensor:
    """The state at the last time, by Heun's rule for dx/dt = (x - D) / t, written in y = x / t."""
    for t, t_next in pairwise(times):
        k = t / t_next
        gain = (k - 1) / t
        ahead_RA = posterior.moved(y_RA, gain, y_RA, t)
        base_RA = torch.lerp(ahead_RA, y_RA, k / 2)
        y_RA = posterior.moved(base_RA, gain * k / 2, ahead_RA, t_next)
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
