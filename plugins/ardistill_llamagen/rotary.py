"""LlamaGen's rotary positions on the grid of tokens.

Legend: B batch, n tokens at hand, N positions (condition and tokens), H heads, d head width.
Source: LlamaGen autoregressive/models/gpt.py:precompute_freqs_cis_2d, apply_rotary_emb.
"""

import torch
from torch import Tensor, nn

from ardistill_llamagen.config import GPTConfig


def freqs_cis(config: GPTConfig) -> Tensor:
    """(N, d/2, 2) float32: cosine and sine of each pair's angle at each position, always on the CPU.

    The first half of the pairs turns by the token's row, the second by its column. At the condition's positions both
    are 0, which is no rotation: it makes their queries and keys vanish, so they are attended to by their mere number.
    """
    with torch.device("cpu"):  # also while a model is built on the meta device: no weights file holds this
        n_pairs = config.head_dim // 4  # per axis
        rates = config.rope_base ** -(torch.arange(n_pairs) / n_pairs)
        angles = torch.arange(config.side)[:, None] * rates
        rows = angles[:, None].expand(-1, config.side, -1)
        columns = angles[None].expand(config.side, -1, -1)
        angles_Lp = torch.cat([rows, columns], dim=-1).flatten(0, 1)
        table_Lp2 = torch.stack([angles_Lp.cos(), angles_Lp.sin()], dim=-1)
        return torch.cat([torch.zeros(config.cls_token_num, *table_Lp2.shape[1:]), table_Lp2])


class Rotary(nn.Module):
    """Turns queries and keys; holds no state of a checkpoint."""

    cos_Nd: Tensor
    sin_Nd: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        cos_Np, sin_Np = freqs_cis(config).unbind(-1)
        # (a, b) -> (a cos - b sin, b cos + a sin): with the pair swapped, the first sine is negative.
        self.register_buffer("cos_Nd", cos_Np.repeat_interleave(2, dim=-1), persistent=False)
        self.register_buffer("sin_Nd", torch.stack([-sin_Np, sin_Np], dim=-1).flatten(-2), persistent=False)

    def rows(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines (n, 1, d) of positions begin..end-1."""
        return self.cos_Nd[begin:end, None], self.sin_Nd[begin:end, None]


def rotate(x_BnHd: Tensor, rows: tuple[Tensor, Tensor]) -> Tensor:
    """Turns neighbouring pairs of channels, in float32; any axes may stand before the heads but positions."""
    cos_n1d, sin_n1d = rows
    x = x_BnHd.float()
    swapped = torch.unflatten(x, -1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos_n1d, swapped, sin_n1d).type_as(x_BnHd)
