"""The residual pyramid: how per-scale token vectors add up to one map, and what each next scale is shown.

All of it is affine in the token vectors: bicubic resizing up, a convolution phi, a running sum f_hat, and
area resizing down. Resizing between such small maps is a product with a small dense matrix, which is far
cheaper on a CPU than torch's bicubic kernel and has an equally cheap gradient.

Legend: B batch, C code width, L tokens of all scales, s a scale with n = pn*pn tokens, N = H*W positions of
the largest scale, S scales. Source: VAR models/quant.py:VectorQuantizer2.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill_var.structure import settled


class PhiWeights(Protocol):
    """The convolution phi of a scale as (weight (C, C, 3, 3), bias (C,)), residual connection folded in."""

    def __call__(self, scale: int, /) -> tuple[Tensor, Tensor]: ...


def phi_index(n_scales: int, n_convs: int) -> tuple[int, ...]:
    """Which of the shared convolutions serves each scale: the one whose tick lies nearest to s / (S-1).

    Two exact ties at S=10 are settled by float64 rounding, so the ticks are computed as numpy.linspace does.
    """
    edge = 1 / 3 / n_convs if n_convs == 4 else 1 / 2 / n_convs
    gap = (1 - edge - edge) / max(1, n_convs - 1)
    ticks = [edge + k * gap for k in range(n_convs - 1)] + [1 - edge if n_convs > 1 else edge]
    places = [s / (n_scales - 1) if n_scales > 1 else 0.0 for s in range(n_scales)]
    return tuple(min(range(n_convs), key=lambda k: abs(ticks[k] - place)) for place in places)


def resize_matrix(source: int, target: int, mode: str) -> Tensor:
    """(target^2, source^2) float32: torch's `mode` interpolation of a square row-major map, as a matrix."""
    basis = torch.eye(source * source, dtype=torch.float64, device="cpu").view(-1, 1, source, source)
    columns = F.interpolate(basis, size=(target, target), mode=mode)
    return settled(columns.view(source * source, target * target).t().contiguous().float())


class ScalePyramid(nn.Module):
    """The resizing operators of a list of scales. It has no parameters and nothing in the state dict."""

    def __init__(self, patch_nums: Sequence[int]) -> None:
        super().__init__()
        self.patch_nums = tuple(patch_nums)
        self.sizes = [pn * pn for pn in self.patch_nums]
        side = self.patch_nums[-1]
        for s, pn in enumerate(self.patch_nums[:-1]):
            self.register_buffer(f"up_{s}", resize_matrix(pn, side, "bicubic"), persistent=False)
            self.register_buffer(f"down_{s}", resize_matrix(side, pn, "area"), persistent=False)

    @property
    def last(self) -> int:
        """The index of the last scale, the only one that is never resized."""
        return len(self.sizes) - 1

    def up(self, z_BnC: Tensor, scale: int) -> Tensor:
        """Tokens of a scale -> (B, N, C) at the largest scale (bicubic)."""
        return z_BnC if scale == self.last else torch.matmul(self.get_buffer(f"up_{scale}"), z_BnC)

    def down(self, f_BNC: Tensor, scale: int) -> Tensor:
        """(B, N, C) at the largest scale -> (B, n, C) at the given one (area average)."""
        return f_BNC if scale == self.last else torch.matmul(self.get_buffer(f"down_{scale}"), f_BNC)

    def contribution(self, z_BnC: Tensor, scale: int, phi: PhiWeights) -> Tensor:
        """What a scale's tokens add to f_hat: phi(up(z)), (B, N, C)."""
        z_BNC = self.up(z_BnC, scale)
        side = self.patch_nums[-1]
        h_BCHW = z_BNC.transpose(1, 2).reshape(len(z_BNC), -1, side, side)
        weight_CC33, bias_C = phi(scale)
        return F.conv2d(h_BCHW, weight_CC33, bias_C, padding=1).flatten(2).transpose(1, 2)

    def cumulate(self, latents_BLC: Tensor, phi: PhiWeights, scales: int | None = None) -> list[Tensor]:
        """The running f_hat (B, N, C) after each of the first `scales` scales (default: all)."""
        scales = len(self.sizes) if scales is None else scales
        sums: list[Tensor] = []
        given_BLC = latents_BLC[:, : sum(self.sizes[:scales])]
        for s, z_BnC in enumerate(torch.split(given_BLC, self.sizes[:scales], dim=1)):
            added_BNC = self.contribution(z_BnC, s, phi)
            sums.append(sums[-1] + added_BNC if sums else added_BNC)
        return sums

    def inputs(self, latents_BLC: Tensor, phi: PhiWeights) -> Tensor:
        """Teacher-forcing input (B, L - n_0, C): at scale s, f_hat of the scales before s, resized to s.

        The latents may hold all scales or all but the last, which nobody is shown.
        """
        sums = self.cumulate(latents_BLC, phi, self.last)
        parts = [self.down(f_BNC, s + 1) for s, f_BNC in enumerate(sums)]
        return torch.cat(parts, dim=1) if parts else latents_BLC[:, :0]


class FrozenPath(nn.Module):
    """A pyramid with a fixed copy of phi: differentiable in the latents, without parameters or state."""

    def __init__(self, pyramid: ScalePyramid, phi: PhiWeights) -> None:
        super().__init__()
        self.pyramid = pyramid
        for s in range(len(pyramid.sizes)):
            weight_CC33, bias_C = phi(s)
            self.register_buffer(f"weight_{s}", weight_CC33.detach().clone(), persistent=False)
            self.register_buffer(f"bias_{s}", bias_C.detach().clone(), persistent=False)

    def phi(self, scale: int) -> tuple[Tensor, Tensor]:
        """The folded convolution of a scale."""
        return self.get_buffer(f"weight_{scale}"), self.get_buffer(f"bias_{scale}")

    def forward(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> (B, L - n_0, C), see `ScalePyramid.inputs`."""
        return self.pyramid.inputs(latents_BLC, self.phi)
