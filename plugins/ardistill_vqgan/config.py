"""Configuration of the VQGAN tokenizers. No torch here, so that a command line can read it quickly."""

from pathlib import Path

import attrs
from attrs import validators as check

from ardistill.errors import ConfigError


def positive_ints(
    _instance: object, attribute: "attrs.Attribute[tuple[int, ...]]", value: tuple[int, ...]
) -> None:
    """Validator for attrs: a non-empty tuple of ints, each at least 1."""
    if not value or any(item < 1 for item in value):
        raise ConfigError(f"{attribute.name} must be a non-empty tuple of ints >= 1, got {value!r}")


@attrs.frozen(kw_only=True)
class BackboneConfig:
    """The convolutional encoder and decoder.

    Level l works at resolution / 2**l with ch * ch_mult[l] channels; the decoder has one residual block more
    per level than the encoder. The width of every level must be a multiple of `groups`.
    """

    ch: int = attrs.field(default=128, validator=check.ge(1))
    ch_mult: tuple[int, ...] = attrs.field(default=(1, 1, 2, 2, 4), validator=positive_ints)
    num_res_blocks: int = attrs.field(default=2, validator=check.ge(1))
    in_channels: int = attrs.field(default=3, validator=check.ge(1))
    z_channels: int = attrs.field(default=256, validator=check.ge(1))
    groups: int = attrs.field(default=32, validator=check.ge(1))
    attn_levels: tuple[int, ...] = (4,)  # levels with attention after every residual block
    packed_qkv: bool = False  # one 1x1 convolution for q, k and v (VAR) or three (taming, LlamaGen)

    def __attrs_post_init__(self) -> None:
        for mult in self.ch_mult:
            if self.ch * mult % self.groups:
                raise ConfigError(
                    f"groups={self.groups} does not divide the level width {self.ch * mult} (ch={self.ch}); "
                    "choose ch as a multiple of groups, or fewer groups"
                )
        if any(not 0 <= level < len(self.ch_mult) for level in self.attn_levels):
            raise ConfigError(f"attn_levels={self.attn_levels} must lie in 0..{len(self.ch_mult) - 1}")

    @property
    def downsample(self) -> int:
        """Image pixels per latent position, along one side."""
        return int(2 ** (len(self.ch_mult) - 1))


@attrs.frozen(kw_only=True)
class TamingConfig:
    """taming-transformers' VQGAN (defaults: ImageNet f16, 16384 codes)."""

    vocab: int = attrs.field(default=16384, validator=check.ge(2))
    code_width: int = attrs.field(default=256, validator=check.ge(1))
    resolution: int = attrs.field(default=256, validator=check.ge(1))
    attn_resolutions: tuple[int, ...] = (16,)
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    in_channels: int = 3
    z_channels: int = 256
    groups: int = 32
    beta: float = attrs.field(default=0.25, validator=check.ge(0.0))  # legacy place: weighs the codebook term

    def __attrs_post_init__(self) -> None:
        if self.resolution % self.backbone.downsample:
            raise ConfigError(
                f"resolution={self.resolution} must be a multiple of {self.backbone.downsample}"
            )

    @property
    def backbone(self) -> BackboneConfig:
        """Encoder and decoder: attention where the level's resolution is among attn_resolutions."""
        sides = [self.resolution // 2**level for level in range(len(self.ch_mult))]
        levels = tuple(level for level, side in enumerate(sides) if side in self.attn_resolutions)
        return BackboneConfig(
            ch=self.ch,
            ch_mult=self.ch_mult,
            num_res_blocks=self.num_res_blocks,
            in_channels=self.in_channels,
            z_channels=self.z_channels,
            groups=self.groups,
            attn_levels=levels,
        )

    @property
    def latent_side(self) -> int:
        """Side of the token map."""
        return self.resolution // self.backbone.downsample


@attrs.frozen(kw_only=True)
class TamingSettings:
    """The words of `tokenizer=vqgan`. `resolution` is what the weights' shapes cannot tell."""

    checkpoint: Path | None = None
    resolution: int = attrs.field(default=256, validator=check.ge(1))
