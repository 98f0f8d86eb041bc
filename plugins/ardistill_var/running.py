"""What the transformer is shown: the running f_hat of the steps before, resized to the step that looks.

Legend: B batch, P panels, R = B*P rows (see `scales`), C code width, L tokens of an image, m of a step, n of a scale's
panel, n_0 of the first, N positions of the largest scale. Source: VAR models/quant.py:VectorQuantizer2.
"""

import torch
from torch import Tensor, nn

from ardistill_var.scales import PhiWeights, ScalePyramid


class RunningMap:
    """f_hat of images in the making, step by step, and what the transformer is shown of it.

    A panel's first scale is shown the panel before it, as far as that is known; a later scale is shown its own panel.
    Both are resized to the scale that looks.
    """

    def __init__(self, pyramid: ScalePyramid, phi: PhiWeights) -> None:
        self._pyramid, self._phi = pyramid, phi
        self.step = 0
        self._first: list[Tensor] = []
        self._sum_RNC: Tensor | None = None

    @property
    def scale(self) -> int:
        """Of the step to come."""
        return max(0, self.step - self._pyramid.panels + 1)

    def add(self, z_BmC: Tensor) -> None:
        """Takes the vectors of a step."""
        pyramid, n_tokens = self._pyramid, self._pyramid.sizes[self.scale]
        z_RnC = z_BmC.reshape(-1, n_tokens, z_BmC.shape[-1])
        added_RNC = pyramid.contribution(z_RnC, self.scale, self._phi)
        if self._sum_RNC is not None:
            self._sum_RNC = self._sum_RNC + added_RNC
        else:
            self._first.append(added_RNC)
            if len(self._first) == pyramid.panels:
                self._sum_RNC = torch.stack(self._first, dim=1).flatten(0, 1)
        self.step += 1

    def shown(self) -> Tensor:
        """(B, m, C), the input of the step to come, which is neither the first nor beyond the last."""
        if self._sum_RNC is None:
            return self._pyramid.down(self._first[-1], 0)
        return self._pyramid.side_by_side(self._pyramid.down(self._sum_RNC, self.scale))


def teacher_inputs(pyramid: ScalePyramid, latents_BLC: Tensor, phi: PhiWeights) -> Tensor:
    """Teacher-forcing input (B, L - n_0, C): for every step but the first, what `RunningMap` shows it.

    The latents may hold all steps or all but the last, which nobody is shown.
    """
    running, sizes = RunningMap(pyramid, phi), list(pyramid.step_sizes[:-1])
    parts = []
    for z_BmC in torch.split(latents_BLC[:, : sum(sizes)], sizes, dim=1) if sizes else ():
        running.add(z_BmC)
        parts.append(running.shown())
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
        """(B, L, C) -> (B, L - n_0, C), see `teacher_inputs`."""
        return teacher_inputs(self.pyramid, latents_BLC, self.phi)
