"""The VQGAN encoder and decoder, with the state-dict keys taming and VAR share.

LlamaGen's have other keys and the same `encoder_widths` and `decoder_widths`.

Legend: B batch, C channels, H W height and width of the map at hand; level 0 is the full resolution.
Sources: taming-transformers modules/diffusionmodules/model.py:Encoder, Decoder; VAR models/basic_vae.py.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill_vqgan.blocks import AttnBlock, Downsample, Middle, ResBlock, Upsample, group_norm
from ardistill_vqgan.config import BackboneConfig


def encoder_widths(config: BackboneConfig) -> list[list[int]]:
    """Per level, the channels before its first residual block and after each of them."""
    widths = [config.ch * mult for mult in config.ch_mult]
    return [
        [before] + [width] * config.num_res_blocks
        for before, width in zip([config.ch, *widths[:-1]], widths, strict=True)
    ]


def decoder_widths(config: BackboneConfig) -> list[list[int]]:
    """The same for the decoder, which runs from the last level to level 0 and has one block more."""
    widths = [config.ch * mult for mult in config.ch_mult]
    return [
        [before] + [width] * (config.num_res_blocks + 1)
        for before, width in zip([*widths[1:], widths[-1]], widths, strict=True)
    ]


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by attention where the level has it.

    `attn` is an empty list without attention; `downsample` and `upsample` are Identity at the level that
    ends the path, so that only real convolutions have state-dict keys.
    """

    def __init__(self, widths: list[int], groups: int, *, attention: bool, packed: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(a, b, groups) for a, b in pairwise(widths))
        self.attn = nn.ModuleList(AttnBlock(b, groups, packed=packed) for b in widths[1:] if attention)

    def residual(self, h_BCHW: Tensor) -> Tensor:
        """All blocks in order, without the change of resolution."""
        for index, block in enumerate(self.block):
            h_BCHW = block(h_BCHW)
            if len(self.attn):
                h_BCHW = self.attn[index](h_BCHW)
        return h_BCHW


class DownLevel(Level):
    """A level of the encoder: residual blocks, then downsampling unless it is the last."""

    def __init__(self, widths: list[int], groups: int, *, attention: bool, packed: bool, last: bool) -> None:
        super().__init__(widths, groups, attention=attention, packed=packed)
        self.downsample = nn.Identity() if last else Downsample(widths[-1])

    def forward(self, h_BCHW: Tensor) -> Tensor:
        return self.downsample(self.residual(h_BCHW))  # type: ignore[no-any-return]


class UpLevel(Level):
    """A level of the decoder: residual blocks, then upsampling unless it is level 0."""

    def __init__(self, widths: list[int], groups: int, *, attention: bool, packed: bool, last: bool) -> None:
        super().__init__(widths, groups, attention=attention, packed=packed)
        self.upsample = nn.Identity() if last else Upsample(widths[-1])

    def forward(self, h_BCHW: Tensor) -> Tensor:
        return self.upsample(self.residual(h_BCHW))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Images (B, in_channels, H, W) -> features (B, z_channels, H / downsample, W / downsample)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        widths = encoder_widths(config)
        top, deepest = len(widths) - 1, widths[-1][-1]
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(
                row,
                config.groups,
                attention=level in config.attn_levels,
                packed=config.packed_qkv,
                last=level == top,
            )
            for level, row in enumerate(widths)
        )
        self.mid = Middle(deepest, config.groups, packed=config.packed_qkv)
        self.norm_out = group_norm(deepest, config.groups)
        self.conv_out = nn.Conv2d(deepest, config.z_channels, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv_in(image_BCHW)
        for level in self.down:
            h_BCHW = level(h_BCHW)
        return self.conv_out(F.silu(self.norm_out(self.mid(h_BCHW))))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Features (B, z_channels, h, w) -> unclamped images (B, in_channels, h*downsample, w*downsample)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        widths = decoder_widths(config)
        deepest, shallowest = widths[-1][0], widths[0][-1]
        self.conv_in = nn.Conv2d(config.z_channels, deepest, 3, padding=1)
        self.mid = Middle(deepest, config.groups, packed=config.packed_qkv)
        # up[l] is level l, as in the official keys; they run from the lowest resolution (last) to the first.
        self.up = nn.ModuleList(
            UpLevel(
                row,
                config.groups,
                attention=level in config.attn_levels,
                packed=config.packed_qkv,
                last=level == 0,
            )
            for level, row in enumerate(widths)
        )
        self.norm_out = group_norm(shallowest, config.groups)
        self.conv_out = nn.Conv2d(shallowest, config.in_channels, 3, padding=1)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        z_BCHW = z_BCHW.contiguous(memory_format=torch.channels_last)  # what convolutions are faster in
        h_BCHW = self.mid(self.conv_in(z_BCHW))
        for level in reversed(self.up):
            h_BCHW = level(h_BCHW)
        return self.conv_out(F.silu(self.norm_out(h_BCHW)))  # type: ignore[no-any-return]
