"""What an ODE solve evaluates again and again: the posterior over codes, for some rows at once.

A state is y_RA = (x_t / t, -r / 2) with r = (1 - t) / t and A = C + 1. So log w_j = log p_j + r y . c_j where |c|^2 is
a code's last entry, and dy/dr = E[c | x_t] where -1/2 is a code's last entry, since weights sum to 1. An evaluation is
a matrix product, a softmax and one more product.

Shape legend: N any leading shape, M its rows as one, R some rows, V codes, K codes of a row's own, C code width,
A = C + 1. Sums run over all codes, or over those that p has left a row: `Whole` and `Few` give the same up to rounding.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

_CHUNK_CPU, _CHUNK_GPU = 1 << 19, 1 << 26
"""Numbers in each of the two buffers of an ODE solve: what caches hold, and what keeps a GPU busy (256 MB)."""

_FEW_CPU, _FEW_GPU = 1 / 8, 0.0
"""The largest share of all codes with which a row is solved over its own: their products have to read what other rows'
products share, so that fewer codes are not always less work. For a CPU as measured in docs/ode.md; for a GPU, where
nothing was measured, no row is."""

_WORTH_PARTING = 1 << 16
"""Numbers of log p from which on it is looked which rows have few codes; that costs a millisecond by itself."""


class Posterior(Protocol):
    """The posteriors of R rows."""

    def logits(self, y_RA: Tensor, t: float) -> Tensor:
        """(R, V or K): the weights' logarithms, not normalised; good until the next call."""

    def moved(self, base_RA: Tensor, gain: float, y_RA: Tensor, t: float) -> Tensor:
        """(R, A): `base` plus `gain` times dy/dr at (y, t)."""

    def tokens(self, y_RA: Tensor, t: float) -> Tensor:
        """(R,) int64: the mode; the first of equals."""


class Codes:
    """A codebook moved and scaled to mean 0 and deviation 1, and how many rows are solved over it at once."""

    def __init__(self, codes_VC: Tensor, n_rows: int, *, compiled: bool = False) -> None:
        """For a solve of `n_rows` rows in all; 0 leaves out the buffers."""
        codes_VC = codes_VC - codes_VC.mean(0)
        codes_VC = codes_VC / codes_VC.square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        self.read_VA = torch.cat([codes_VC, codes_VC.square().sum(-1, keepdim=True)], dim=-1)
        # Both lie by entries, not by codes: a product with few columns is twice as fast so on a CPU.
        self.read_AV = self.read_VA.T.contiguous()
        self.write_AV = torch.cat([codes_VC, torch.full_like(codes_VC[:, :1], -0.5)], dim=-1).T.contiguous()
        self.mean = _compiled() if compiled else None
        on_cpu = codes_VC.device.type == "cpu"
        self._chunk, share = (_CHUNK_CPU, _FEW_CPU) if on_cpu else (_CHUNK_GPU, _FEW_GPU)
        self.most_of_few = int(share * len(codes_VC)) if n_rows * len(codes_VC) >= _WORTH_PARTING else 0
        self.rows = max(1, min(n_rows, self._chunk // len(codes_VC)))
        self.buffers = codes_VC.new_empty(2, self.rows, len(codes_VC)) if n_rows else None

    def apart(self, sizes_M: Tensor) -> tuple[Tensor, Iterator[Tensor]]:
        """The rows to solve over all codes, and chunks of those of few, which have about as many each; given how many.

        Neither a chunk's log p nor its codes hold more numbers than a buffer.
        """
        descending_M, order_M = sizes_M.sort(descending=True)
        n_whole = int((descending_M > self.most_of_few).sum())

        def chunks() -> Iterator[Tensor]:
            start = n_whole
            while start < len(order_M):
                size = int(descending_M[start]) * len(self.read_AV)
                end = start + max(1, min(self.rows, self._chunk // size))
                yield order_M[start:end]
                start = end

        return order_M[:n_whole], chunks()


class Whole:
    """Sums over all codes, into buffers that chunks share."""

    def __init__(self, codes: Codes, log_p_RV: Tensor) -> None:
        self._codes, self._log_p_RV = codes, log_p_RV
        self._logits_RV: Tensor | None = None
        self._weights_RV: Tensor | None = None
        if codes.buffers is not None:
            self._logits_RV, self._weights_RV = codes.buffers[:, : len(log_p_RV)]

    def logits(self, y_RA: Tensor, t: float) -> Tensor:
        return torch.addmm(self._log_p_RV, y_RA, self._codes.read_AV, alpha=1 / t - 1, out=self._logits_RV)

    def moved(self, base_RA: Tensor, gain: float, y_RA: Tensor, t: float) -> Tensor:
        codes = self._codes
        if codes.mean is not None and len(y_RA) > 1:  # torch.compile would make another one for a single row
            mean_RA = codes.mean(y_RA, 1 / t - 1, self._log_p_RV, codes.read_AV, codes.write_AV)
            return torch.add(base_RA, mean_RA, alpha=gain)
        weights_RV = torch.softmax(self.logits(y_RA, t), -1, out=self._weights_RV)
        return torch.addmm(base_RA, weights_RV, codes.write_AV.T, alpha=gain)

    def tokens(self, y_RA: Tensor, t: float) -> Tensor:
        return self.logits(y_RA, t).argmax(-1)


class Few:
    """Sums over the codes that p leaves, gathered for each row and filled up with code 0 at p = 0."""

    def __init__(self, codes: Codes, log_p_RV: Tensor) -> None:
        left_RV = log_p_RV != -torch.inf
        size_R = left_RV.sum(-1)
        row_n, code_n = left_RV.nonzero(as_tuple=True)
        place_n = torch.arange(len(row_n), device=row_n.device) - (size_R.cumsum(0) - size_R)[row_n]
        shape = len(log_p_RV), int(size_R.max())
        self._codes_RK = code_n.new_zeros(shape).index_put_((row_n, place_n), code_n)
        self._log_p_R1K = log_p_RV.new_full(shape, -torch.inf)
        self._log_p_R1K = self._log_p_R1K.index_put_((row_n, place_n), log_p_RV[row_n, code_n]).unsqueeze(1)
        # Whole codes are gathered faster than entries, and read faster by entries than by codes.
        self._read_RAK = codes.read_VA[self._codes_RK].transpose(1, 2).contiguous()

    def logits(self, y_RA: Tensor, t: float) -> Tensor:
        return torch.baddbmm(self._log_p_R1K, y_RA.unsqueeze(1), self._read_RAK, alpha=1 / t - 1).squeeze(1)

    def moved(self, base_RA: Tensor, gain: float, y_RA: Tensor, t: float) -> Tensor:
        weights_R1K = self.logits(y_RA, t).softmax(-1).unsqueeze(1)
        moved_RA = torch.baddbmm(base_RA.unsqueeze(1), weights_R1K, self._read_RAK.mT, alpha=gain).squeeze(1)
        moved_RA[:, -1] = base_RA[:, -1] - gain / 2  # as if the last entry had been -1/2
        return moved_RA

    def tokens(self, y_RA: Tensor, t: float) -> Tensor:
        return self._codes_RK.gather(-1, self.logits(y_RA, t).argmax(-1, keepdim=True)).squeeze(-1)


def _mean(y_RA: Tensor, r: float, log_p_RV: Tensor, read_AV: Tensor, write_AV: Tensor) -> Tensor:
    """(R, A): dy/dr as one piece to compile; normalised after the second product, which spares a pass."""
    logits_RV = log_p_RV + r * (y_RA @ read_AV)
    weights_RV = (logits_RV - logits_RV.amax(-1, keepdim=True)).exp()
    return (weights_RV @ write_AV.T) / weights_RV.sum(-1, keepdim=True)


@cache
def _compiled() -> Callable[..., Tensor]:
    """Compiled once: sizes are left open, so that neither a chunk's last rows nor another codebook are a reason to."""
    return torch.compile(_mean, dynamic=True)
