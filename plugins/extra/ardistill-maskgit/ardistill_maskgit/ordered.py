"""A tokenizer whose tokens come in the order of a teacher that is not its own.

Legend: B batch, L tokens, C code width, V codes, H W pixels.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.protocols import Tokenizer


class OrderedTokenizer(nn.Module):
    """The tokenizer `inner` with its tokens renumbered: the n-th here is its token `order[n]`."""

    order_L: Tensor
    place_L: Tensor

    def __init__(self, inner: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.inner = inner
        if sorted(order) != list(range(self._inner.n_tokens)):
            raise ConfigError(
                f"an order of {len(order)} tokens was given to a tokenizer of {self._inner.n_tokens}; "
                "it must name each of the tokenizer's tokens once"
            )
        self.register_buffer("order_L", torch.tensor(order))
        self.register_buffer("place_L", self.order_L.argsort(), persistent=False)

    @property
    def _inner(self) -> Tokenizer:
        return cast(Tokenizer, self.inner)

    @property
    def codebook(self) -> Tensor:
        """(V, C)."""
        return self._inner.codebook

    @property
    def n_tokens(self) -> int:
        """L."""
        return self._inner.n_tokens

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self._inner.image_shape

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) in [-1, 1] -> tokens (B, L) int64, in the new order."""
        return self._inner.encode(images_BCHW)[:, self.order_L]

    def decode(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) in the new order -> images (B, channels, H, W), clamped to [-1, 1]."""
        return self._inner.decode(latents_BLC[:, self.place_L])
