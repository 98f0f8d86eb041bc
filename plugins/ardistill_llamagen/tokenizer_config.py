"""Configuration of LlamaGen's tokenizer. No torch here, so that a command line can read it quickly."""

import attrs
from ardistill_vqgan.config import BackboneConfig
from attrs import validators as check

from ardistill.errors import ConfigError


@attrs.frozen(kw_only=True)
class LlamaGenTokenizerConfig:
    """One map of tokens, codes of length 1 (defaults: the released VQ-16)."""

    codebook_size: int = attrs.field(default=16384, validator=check.ge(2))
    codebook_embed_dim: int = attrs.field(default=8, validator=check.ge(1))
    z_channels: int = 256
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    groups: int = 32
    in_channels: int = 3
    image_size: int = attrs.field(default=256, validator=check.ge(1))  # pixels along one side
    beta: float = attrs.field(default=0.25, validator=check.ge(0.0))  # weighs the commitment term

    def __attrs_post_init__(self) -> None:
        if self.image_size % self.backbone.downsample:
            raise ConfigError(
                f"image_size={self.image_size} must be a multiple of {self.backbone.downsample}, "
                "the pixels per token along one side"
            )

    @property
    def backbone(self) -> BackboneConfig:
        """Encoder and decoder: attention at the lowest resolution only."""
        return BackboneConfig(
            ch=self.ch,
            ch_mult=self.ch_mult,
            num_res_blocks=self.num_res_blocks,
            in_channels=self.in_channels,
            z_channels=self.z_channels,
            groups=self.groups,
            attn_levels=(len(self.ch_mult) - 1,),
        )

    @property
    def side(self) -> int:
        """Tokens along one side of the map."""
        return self.image_size // self.backbone.downsample


VQ_16 = LlamaGenTokenizerConfig()
VQ_8 = LlamaGenTokenizerConfig(ch_mult=(1, 2, 2, 4))
"""The released tokenizers, 16 and 8 pixels per token."""
