"""The residual pyramid: how per-scale token vectors add up to one map, and what each next scale is shown.

All of it is affine in the token vectors: bicubic resizing up, a convolution phi, a running sum f_hat, and
area resizing down. Resizing between such small maps is a product with a small dense matrix, which is far
cheaper on a CPU than torch's bicubic kernel and has an equally cheap gradient.

An image may be P panels side by side (`config.panel_steps`), each with a pyramid of its own: they are rows of the
batch here, R = B*P, an image's panels next to one another. A step's tokens lie panel after panel.

Legend: B batch, P panels, R rows, C code width, L tokens of an image in order of emission, l of one panel, m of a
step, s a scale with n = pn*pn tokens, N = H*W positions of the largest scale, S scales.
Source: VAR models/quant.py:VectorQuantizer2.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill_var.config import panel_steps
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

    def __init__(self, patch_nums: Sequence[int], panels: int = 1) -> None:
        super().__init__()
        self.patch_nums = tuple(patch_nums)
        self.panels = panels
        self.sizes = [pn * pn for pn in self.patch_nums]  # of one panel
        self.step_sizes = panel_steps(self.patch_nums, panels)
        side = self.patch_nums[-1]
        for s, pn in enumerate(self.patch_nums[:-1]):
            self.register_buffer(f"up_{s}", resize_matrix(pn, side, "bicubic"), persistent=False)
            self.register_buffer(f"down_{s}", resize_matrix(side, pn, "area"), persistent=False)

    @property
    def last(self) -> int:
        """The index of the last scale, the only one that is never resized."""
        return len(self.sizes) - 1

    def up(self, z_RnC: Tensor, scale: int) -> Tensor:
        """Tokens of a scale -> (R, N, C) at the largest scale (bicubic)."""
        return z_RnC if scale == self.last else torch.matmul(self.get_buffer(f"up_{scale}"), z_RnC)

    def down(self, f_RNC: Tensor, scale: int) -> Tensor:
        """(R, N, C) at the largest scale -> (R, n, C) at the given one (area average)."""
        return f_RNC if scale == self.last else torch.matmul(self.get_buffer(f"down_{scale}"), f_RNC)

    def contribution(self, z_RnC: Tensor, scale: int, phi: PhiWeights) -> Tensor:
        """What a scale's tokens add to f_hat: phi(up(z)), (R, N, C)."""
        z_RNC = self.up(z_RnC, scale)
        side = self.patch_nums[-1]
        h_RCHW = z_RNC.transpose(1, 2).reshape(z_RNC.shape[0], -1, side, side)
        weight_CC33, bias_C = phi(scale)
        return F.conv2d(h_RCHW, weight_CC33, bias_C, padding=1).flatten(2).transpose(1, 2)

    def total(self, latents_BLC: Tensor, phi: PhiWeights) -> Tensor:
        """f_hat (R, N, C) of the given latents, which are all scales or the first ones."""
        z_RlC = self.by_panel(latents_BLC)
        sizes = self.sizes[: 1 + list(accumulate(self.sizes)).index(z_RlC.shape[1])]
        parts = torch.split(z_RlC, sizes, dim=1)
        sum_RNC = self.contribution(parts[0], 0, phi)
        for s, z_RnC in enumerate(parts[1:], start=1):
            sum_RNC = sum_RNC + self.contribution(z_RnC, s, phi)
        return sum_RNC

    def by_panel(self, x_BL: Tensor) -> Tensor:
        """(B, L, ...) -> (R, l, ...): each panel's tokens, scale by scale; so for the first scales alone."""
        B, panels = x_BL.shape[0], self.panels
        if panels == 1:
            return x_BL
        scales = torch.split(x_BL, self._whole_scales(x_BL.shape[1]), dim=1)
        return torch.cat([x.reshape(B * panels, x.shape[1] // panels, *x.shape[2:]) for x in scales], dim=1)

    def in_order(self, x_Rl: Tensor) -> Tensor:
        """(R, l, ...) -> (B, L, ...), the inverse of `by_panel`."""
        if self.panels == 1:
            return x_Rl
        scales = torch.split(x_Rl, self.sizes, dim=1)
        return torch.cat([self.side_by_side(x_Rn) for x_Rn in scales], dim=1)

    def side_by_side(self, x_Rn: Tensor) -> Tensor:
        """(R, n, ...) -> (B, P*n, ...): a step of all panels."""
        return x_Rn.reshape(x_Rn.shape[0] // self.panels, self.panels * x_Rn.shape[1], *x_Rn.shape[2:])

    def _whole_scales(self, length: int) -> list[int]:
        """The tokens of as many first scales, all panels', as make `length` together."""
        sizes = [self.panels * size for size in self.sizes]
        return sizes[: 1 + list(accumulate(sizes)).index(length)]
