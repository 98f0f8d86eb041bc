"""The VQGAN encoder and decoder under LlamaGen's state-dict keys; the arithmetic is `ardistill_vqgan`'s.

Both stacks are `conv_blocks` in the order in which they run, so that the decoder's index 0 is its lowest resolution;
the middle is numbered 0, 1, 2.

Legend: B batch, C channels, H W height and width of the map at hand.
Source: LlamaGen tokenizer/tokenizer_image/vq_model.py:Encoder, Decoder.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from ardistill_vqgan.backbone import decoder_widths, encoder_widths
from ardistill_vqgan.blocks import AttnBlock, Downsample, ResBlock, Upsample, group_norm
from ardistill_vqgan.config import BackboneConfig
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """The residual blocks of one resolution, each followed by attention where `attention` says so."""

    def __init__(self, widths: list[int], groups: int, *, attention: bool) -> None:
        super().__init__()
        self.res = nn.ModuleList(ResBlock(a, b, groups) for a, b in pairwise(widths))
        self.attn = nn.ModuleList(AttnBlock(b, groups, packed=False) for b in widths[1:] if attention)

    def residual(self, h_BCHW: Tensor) -> Tensor:
        """All blocks in order, without the change of resolution."""
        for index, block in enumerate(self.res):
            h_BCHW = block(h_BCHW)
            if len(self.attn):
                h_BCHW = self.attn[index](h_BCHW)
        return h_BCHW


class DownBlock(ConvBlock):
    """A resolution of the encoder; the last is not downsampled."""

    def __init__(self, widths: list[int], groups: int, *, attention: bool, last: bool) -> None:
        super().__init__(widths, groups, attention=attention)
        self.downsample = nn.Identity() if last else Downsample(widths[-1])

    def forward(self, h_BCHW: Tensor) -> Tensor:
        return self.downsample(self.residual(h_BCHW))  # type: ignore[no-any-return]


class UpBlock(ConvBlock):
    """A resolution of the decoder; the last is not upsampled."""

    def __init__(self, widths: list[int], groups: int, *, attention: bool, last: bool) -> None:
        super().__init__(widths, groups, attention=attention)
        self.upsample = nn.Identity() if last else Upsample(widths[-1])

    def forward(self, h_BCHW: Tensor) -> Tensor:
        return self.upsample(self.residual(h_BCHW))  # type: ignore[no-any-return]


def middle(channels: int, groups: int) -> nn.Sequential:
    """Residual block, attention, residual block."""
    return nn.Sequential(
        ResBlock(channels, channels, groups),
        AttnBlock(channels, groups, packed=False),
        ResBlock(channels, channels, groups),
    )


class Encoder(nn.Module):
    """Images (B, in_channels, H, W) -> features (B, z_channels, H / downsample, W / downsample)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        widths = encoder_widths(config)
        top, deepest = len(widths) - 1, widths[-1][-1]
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.conv_blocks = nn.ModuleList(
            DownBlock(row, config.groups, attention=level in config.attn_levels, last=level == top)
            for level, row in enumerate(widths)
        )
        self.mid = middle(deepest, config.groups)
        self.norm_out = group_norm(deepest, config.groups)
        self.conv_out = nn.Conv2d(deepest, config.z_channels, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv_in(image_BCHW)
        for block in self.conv_blocks:
            h_BCHW = block(h_BCHW)
        return self.conv_out(F.silu(self.norm_out(self.mid(h_BCHW))))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Features (B, z_channels, h, w) -> unclamped images (B, in_channels, h*downsample, w*downsample)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        widths = decoder_widths(config)
        deepest, shallowest = widths[-1][0], widths[0][-1]
        self.conv_in = nn.Conv2d(config.z_channels, deepest, 3, padding=1)
        self.mid = middle(deepest, config.groups)
        self.conv_blocks = nn.ModuleList(
            UpBlock(widths[level], config.groups, attention=level in config.attn_levels, last=level == 0)
            for level in reversed(range(len(widths)))
        )
        self.norm_out = group_norm(shallowest, config.groups)
        self.conv_out = nn.Conv2d(shallowest, config.in_channels, 3, padding=1)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        z_BCHW = z_BCHW.contiguous(memory_format=torch.channels_last)  # what convolutions are faster in
        h_BCHW = self.mid(self.conv_in(z_BCHW))
        for block in self.conv_blocks:
            h_BCHW = block(h_BCHW)
        return self.conv_out(F.silu(self.norm_out(h_BCHW)))  # type: ignore[no-any-return]
