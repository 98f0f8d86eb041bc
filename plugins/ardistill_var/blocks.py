"""The transformer blocks of VAR.

Legend: B batch, L tokens, T tokens seen including the cache, D model width, H heads, d = D/H.
Source: VAR models/basic_var.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill_var.config import VARConfig
from ardistill_var.structure import settled

_MAX_LOG_SCALE = math.log(100.0)  # cap of the learned attention temperature


class KeyValues:
    """The keys and values (B, H, T, d) one block has seen, written in place; memory is taken at the first write."""

    def __init__(self, length: int) -> None:
        self._length, self._seen = length, 0
        self._kv_2BHTd: Tensor | None = None

    def extend(self, k_BHLd: Tensor, v_BHLd: Tensor) -> tuple[Tensor, Tensor]:
        """Appends a scale and returns everything so far."""
        if self._kv_2BHTd is None:
            rows, heads, _, width = k_BHLd.shape
            self._kv_2BHTd = k_BHLd.new_empty(2, rows, heads, self._length, width)
        end = self._seen + k_BHLd.shape[2]
        for all_BHTd, new_BHLd in zip(self._kv_2BHTd, (k_BHLd, v_BHLd), strict=True):
            all_BHTd[:, :, self._seen : end] = new_BHLd
        self._seen = end
        k_BHTd, v_BHTd = self._kv_2BHTd[:, :, :, :end].unbind(0)
        return k_BHTd, v_BHTd


class SelfAttention(nn.Module):
    """Packed qkv without a bias on k; with L2 norm, q and k have length 1 and heads learn a temperature."""

    zero_k_bias: Tensor

    def __init__(self, config: VARConfig) -> None:
        super().__init__()
        width = config.model_width
        self.n_heads = config.n_heads
        self.l2_norm = config.attn_l2_norm
        # Unnormalised attention is 4 times flatter than usual: 0.25 / sqrt(d).
        self.scale = 1.0 if config.attn_l2_norm else 0.25 / math.sqrt(width // config.n_heads)
        if config.attn_l2_norm:
            self.scale_mul_1H11 = nn.Parameter(torch.full((1, config.n_heads, 1, 1), math.log(4.0)))
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("zero_k_bias", settled(torch.zeros(width, device="cpu")))
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, mask_LL: Tensor | None, cache: KeyValues | None) -> Tensor:
        B, L, D = x_BLD.shape
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        qkv_BL3Hd = (self.mat_qkv(x_BLD) + bias).view(B, L, 3, self.n_heads, -1)
        qkv_3BHLd = qkv_BL3Hd.permute(2, 0, 3, 1, 4)
        q_BHLd, k_BHLd, v_BHLd = qkv_3BHLd.unbind(0)
        if self.l2_norm:
            qk_2BHLd = qkv_3BHLd[:2]
            inverse_2BHL1 = qk_2BHLd.square().sum(-1, keepdim=True).clamp_min(1e-24).rsqrt()
            q_BHLd, k_BHLd = (qk_2BHLd * inverse_2BHL1).unbind(0)
            q_BHLd = q_BHLd * self.scale_mul_1H11.clamp_max(_MAX_LOG_SCALE).exp()
        if cache is not None:
            k_BHLd, v_BHLd = cache.extend(k_BHLd, v_BHLd)
        out_BHLd = F.scaled_dot_product_attention(q_BHLd, k_BHLd, v_BHLd, attn_mask=mask_LL, scale=self.scale)
        return self.proj(out_BHLd.transpose(1, 2).reshape(B, L, D))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Linear, GELU (tanh), Linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_BLD), approximate="tanh"))  # type: ignore[no-any-return]


class AdaLNBlock(nn.Module):
    """Attention and feed-forward, each modulated by the condition.

    The six modulations come in the order gamma1, gamma2, scale1, scale2, shift1, shift2: from the block's own
    `ada_lin`, or, with shared adaLN, from one projection for all blocks plus the block's `ada_gss`.
    """

    def __init__(self, config: VARConfig) -> None:
        super().__init__()
        width = config.model_width
        self.eps = config.norm_eps
        self.shared = config.shared_aln
        self.attn = SelfAttention(config)
        self.ffn = FeedForward(width, round(width * config.mlp_ratio))
        if config.shared_aln:
            self.ada_gss = nn.Parameter(torch.randn(1, 1, 6, width) / math.sqrt(width))
        else:
            self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def modulations(self, cond: Tensor) -> Tensor:
        """(B, 1, 6, D) from the class embedding (B, D), or from (B, 1, 6, D) already projected if shared."""
        return cond + self.ada_gss if self.shared else self.ada_lin(cond).view(cond.shape[0], 1, 6, -1)

    def forward(
        self,
        x_BLD: Tensor,
        cond: Tensor,
        mask_LL: Tensor | None,
        cache: KeyValues | None = None,
        between_BLD: Tensor | None = None,
        six_B16D: Tensor | None = None,
    ) -> Tensor:
        """Modulates x by `cond` (see `modulations`), or by what that has given before, `six_B16D`.

        `between_BLD` is added to the stream between attention and feed-forward.
        """
        if six_B16D is None:
            six_B16D = self.modulations(cond)
        gamma1, gamma2, scale1, scale2, shift1, shift2 = six_B16D.unbind(2)
        h_BLD = self.attn(modulate(x_BLD, scale1, shift1, self.eps), mask_LL, cache)
        x_BLD = torch.addcmul(x_BLD, h_BLD, gamma1)
        if between_BLD is not None:
            x_BLD = x_BLD + between_BLD
        h_BLD = self.ffn(modulate(x_BLD, scale2, shift2, self.eps))
        return torch.addcmul(x_BLD, h_BLD, gamma2)


class AdaLNBeforeHead(nn.Module):
    """The modulated norm in front of the head; order scale, shift, from the raw class embedding."""

    def __init__(self, config: VARConfig) -> None:
        super().__init__()
        width = config.model_width
        self.eps = config.norm_eps
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x_BLD: Tensor, cond_BD: Tensor) -> Tensor:
        scale_B1D, shift_B1D = self.ada_lin(cond_BD).unsqueeze(1).chunk(2, dim=-1)
        return modulate(x_BLD, scale_B1D, shift_B1D, self.eps)


def modulate(x_BLD: Tensor, scale_B1D: Tensor, shift_B1D: Tensor, eps: float) -> Tensor:
    """LayerNorm without affine, times 1 + scale, plus shift."""
    normed_BLD = F.layer_norm(x_BLD, x_BLD.shape[-1:], eps=eps)
    return torch.addcmul(shift_B1D, normed_BLD, scale_B1D + 1)
