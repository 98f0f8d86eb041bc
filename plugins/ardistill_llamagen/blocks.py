"""The transformer blocks of LlamaGen: no biases, norms before the branches.

Legend: B batch, n tokens at hand, T tokens seen (cached ones and those at hand), D model width, H heads, d = D/H.
Source: LlamaGen autoregressive/models/gpt.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.rotary import rotate

Rows = tuple[Tensor, Tensor]


class KeyValues:
    """The keys and values (B, H, T, d) one block has seen, written in place; memory is taken at the first write.

    The length is rounded up to a multiple of 8, as upstream's.
    """

    def __init__(self, length: int) -> None:
        self.length = -(-length // 8) * 8
        self._kv_2BHTd: Tensor | None = None

    def write(self, begin: int, kv_2BHnd: Tensor) -> Tensor:
        """Stores n tokens at position `begin` and returns the keys and values (2, B, H, T, d) up to them.

        A later write may bring fewer rows of the batch; it then concerns the first ones.
        """
        if self._kv_2BHTd is None:
            two, rows, heads, _, width = kv_2BHnd.shape
            self._kv_2BHTd = kv_2BHnd.new_zeros(two, rows, heads, self.length, width)
        rows, end = kv_2BHnd.shape[1], begin + kv_2BHnd.shape[3]
        self._kv_2BHTd[:, :rows, :, begin:end] = kv_2BHnd
        return self._kv_2BHTd[:, :rows, :, :end]


class RMSNorm(nn.Module):
    """x / rms(x) in float32, cast back, times a weight."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BnD: Tensor) -> Tensor:
        return F.rms_norm(x_BnD.float(), x_BnD.shape[-1:], eps=self.eps).type_as(x_BnD) * self.weight


class Attention(nn.Module):
    """Queries, keys, values from one matrix in this order; scale 1/sqrt(d)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.wqkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self, x_BnD: Tensor, rows: Rows, begin: int, mask: Tensor | None, cache: KeyValues | None
    ) -> Tensor:
        B, n, D = x_BnD.shape
        qkv_3BnHd = self.wqkv(x_BnD).view(B, n, 3, self.n_head, -1).permute(2, 0, 1, 3, 4)
        q_BHnd, k_BHnd = rotate(qkv_3BnHd[:2], rows).transpose(2, 3)
        v_BHnd = qkv_3BnHd[2].transpose(1, 2)
        if cache is not None:
            k_BHnd, v_BHnd = cache.write(begin, torch.stack([k_BHnd, v_BHnd]))
        causal = mask is None and n > 1  # a single token sees all there is
        out_BHnd = F.scaled_dot_product_attention(q_BHnd, k_BHnd, v_BHnd, attn_mask=mask, is_causal=causal)
        return self.wo(out_BHnd.transpose(1, 2).reshape(B, n, D))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_hidden, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_hidden, bias=False)
        self.w2 = nn.Linear(config.ffn_hidden, config.dim, bias=False)

    def forward(self, x_BnD: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x_BnD)) * self.w3(x_BnD))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then feed-forward, each added to the stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(
        self,
        x_BnD: Tensor,
        rows: Rows,
        begin: int = 0,
        mask: Tensor | None = None,
        cache: KeyValues | None = None,
    ) -> Tensor:
        """Positions from `begin` on, n of them; `mask` (B, 1, n, T) says who may see whom, and without it it is causal.

        Without a mask, either `begin` is 0 or n is 1.
        """
        h_BnD = x_BnD + self.attention(self.attention_norm(x_BnD), rows, begin, mask, cache)
        return h_BnD + self.feed_forward(self.ffn_norm(h_BnD))  # type: ignore[no-any-return]
