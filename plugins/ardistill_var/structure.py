"""Tensors that follow from a model's configuration: which scale a token belongs to, and what it may see.

They are in the official state dicts, so they are buffers here; a file may lack them, and cannot change them.

Legend: L tokens of all scales.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

STRUCTURAL = ("lvl_1L", "attn_bias_for_masking", "zero_k_bias")
"""Last parts of their keys."""


class Visibility(Protocol):
    """(L,) int64 scales of the tokens -> (L, L) bool, whether the row's token sees the column's."""

    def __call__(self, level_L: Tensor, /) -> Tensor: ...


def own_and_earlier_scales(level_L: Tensor) -> Tensor:
    """VAR's: a token sees its whole scale and those before."""
    return level_L[:, None] >= level_L[None, :]


def itself_and_earlier_scales(level_L: Tensor) -> Tensor:
    """DD1's: a token sees the scales before its own and itself, not its neighbours."""
    return (level_L[:, None] > level_L[None, :]) | torch.eye(len(level_L), dtype=torch.bool, device="cpu")


def levels(sizes: Sequence[int]) -> Tensor:
    """(L,) int64: the scale of every token."""
    return torch.tensor([scale for scale, size in enumerate(sizes) for _ in range(size)], device="cpu")


def attention_bias(visible_LL: Tensor) -> Tensor:
    """(1, 1, L, L): 0 where a token sees, -inf where it does not."""
    return torch.zeros(visible_LL.shape, device="cpu").masked_fill(~visible_LL, -torch.inf)[None, None]


def settled(tensor: Tensor) -> Tensor:
    """A tensor computed on the CPU, on the default device; it stays real where that is meta.

    So a model built on meta lacks nothing but its weights.
    """
    device = torch.get_default_device()
    return tensor if device.type == "meta" else tensor.to(device)
