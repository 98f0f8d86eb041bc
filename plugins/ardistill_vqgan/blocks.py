"""Convolutional blocks shared by all VQGAN variants.

Legend: B batch, C channels, H W height and width, N = H*W positions.
Sources: taming-transformers modules/diffusionmodules/model.py and VAR models/basic_vae.py, which differ
only in how attention stores its projections.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """GroupNorm as every VQGAN uses it (eps 1e-6, affine)."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResBlock(nn.Module):
    """norm-SiLU-conv3, twice, plus a shortcut that is a 1x1 convolution only where the widths differ."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut: nn.Module
        if in_channels == out_channels:
            self.nin_shortcut = nn.Identity()
        else:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(F.silu(self.norm2(h_BCHW)))
        return self.nin_shortcut(x_BCHW) + h_BCHW  # type: ignore[no-any-return]


class AttnBlock(nn.Module):
    """Single-head self-attention over positions, softmax scale C^-0.5, residual.

    packed: one `qkv` convolution in the order q, k, v (VAR); otherwise three, q, k, v (taming, LlamaGen).
    """

    def __init__(self, channels: int, groups: int, *, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.norm = group_norm(channels, groups)
        if packed:
            self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        else:
            self.q = nn.Conv2d(channels, channels, 1)
            self.k = nn.Conv2d(channels, channels, 1)
            self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.norm(x_BCHW)
        if self.packed:
            q_BCHW, k_BCHW, v_BCHW = self.qkv(h_BCHW).chunk(3, dim=1)
        else:
            q_BCHW, k_BCHW, v_BCHW = self.q(h_BCHW), self.k(h_BCHW), self.v(h_BCHW)
        q_B1NC, k_B1NC, v_B1NC = (t.flatten(2).transpose(1, 2).unsqueeze(1) for t in (q_BCHW, k_BCHW, v_BCHW))
        h_B1NC = F.scaled_dot_product_attention(q_B1NC, k_B1NC, v_B1NC)
        h_BCHW = h_B1NC.squeeze(1).transpose(1, 2).reshape(x_BCHW.shape)
        return x_BCHW + self.proj_out(h_BCHW)  # type: ignore[no-any-return]


class Downsample(nn.Module):
    """Halve each side: one zero on the right and bottom only, then 3x3 with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Double each side: nearest neighbour, then 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))  # type: ignore[no-any-return]


class Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, channels: int, groups: int, *, packed: bool) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups, packed=packed)
        self.block_2 = ResBlock(channels, channels, groups)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x_BCHW)))  # type: ignore[no-any-return]
