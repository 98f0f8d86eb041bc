"""A tokenizer whose images are its latents: one pixel a token, one channel a coordinate.

Legend: B batch, L tokens, V codes, C code width.
"""

from typing import Self

import torch
from torch import Tensor

from ardistill.errors import DataError
from ardistill.flow import nearest_code

_CHANNELS = 3
_HEADROOM = 4.0  # the largest coordinate that survives the clamp: noise rarely reaches it, codes never do


class LatentTokenizer:
    """Latents / 4 as an RGB strip of L pixels; the coordinates a code lacks are grey."""

    def __init__(self, codes_VC: Tensor, n_tokens: int) -> None:
        if codes_VC.shape[1] > _CHANNELS:
            raise DataError(
                f"codes of {codes_VC.shape[1]} coordinates do not fit a pixel; at most {_CHANNELS} do"
            )
        self.codebook = codes_VC.float()
        self._n_tokens = n_tokens

    @property
    def n_tokens(self) -> int:
        return self._n_tokens

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return _CHANNELS, 1, self._n_tokens

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, 1, L) -> tokens (B, L): the nearest codes."""
        latents_BLC = images_BCHW.flatten(2).transpose(1, 2) * _HEADROOM
        return nearest_code(latents_BLC[..., : self.codebook.shape[1]], self.codebook)

    def decode(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> (B, 3, 1, L), one to one where no coordinate exceeds 4."""
        batch, _, width = latents_BLC.shape
        grey_BLc = latents_BLC.new_zeros(batch, self._n_tokens, _CHANNELS - width)
        pixels_BLC = torch.cat([latents_BLC / _HEADROOM, grey_BLc], dim=-1)
        return pixels_BLC.transpose(1, 2).unsqueeze(2).clamp(-1, 1)

    def to(self, device: torch.device | str) -> Self:
        self.codebook = self.codebook.to(device)
        return self
