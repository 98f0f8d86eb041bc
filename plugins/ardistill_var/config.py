"""Configuration of VAR and its tokenizer. No torch here, so that a command line can read it quickly."""

import attrs
from ardistill_vqgan.config import BackboneConfig, positive_ints
from attrs import validators as check

from ardistill.errors import ConfigError

PATCH_NUMS_256 = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
PATCH_NUMS_512 = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)
MOST_BLOCKS, MOST = 1000, 1 << 24
"""No network has more blocks, or is wider or of more codes; a damaged file may say so."""
MOST_TOKENS = 1 << 14
"""Of an image; the attention mask has the square of it."""


def _scales(instance: object, attribute: "attrs.Attribute[tuple[int, ...]]", value: tuple[int, ...]) -> None:
    """Validator: sides of scales, of at most `MOST_TOKENS` tokens in all."""
    positive_ints(instance, attribute, value)
    if (count := sum(side * side for side in value)) > MOST_TOKENS:
        raise ConfigError(f"patch_nums make {count} tokens, and at most {MOST_TOKENS} are possible")


def panel_steps(patch_nums: tuple[int, ...], panels: int) -> tuple[int, ...]:
    """Tokens per step: the first scale of one panel after another, then all panels of each later scale at once.

    With one panel a step is a scale.
    """
    first, *later = (pn * pn for pn in patch_nums)
    return (first,) * panels + tuple(panels * size for size in later)


def _few_tokens(patch_nums: tuple[int, ...], panels: int) -> None:
    if (count := sum(panel_steps(patch_nums, panels))) > MOST_TOKENS:
        raise ConfigError(f"panels={panels} make {count} tokens, and at most {MOST_TOKENS} are possible")


@attrs.frozen(kw_only=True)
class VARTokenizerConfig:
    """The multi-scale residual tokenizer (defaults: the released vae_ch160v4096z32)."""

    patch_nums: tuple[int, ...] = attrs.field(default=PATCH_NUMS_256, validator=_scales)
    panels: int = attrs.field(default=1, validator=[check.ge(1), check.le(MOST_TOKENS)])
    """Equal square images side by side, each coded by itself; all released models have one."""
    vocab: int = attrs.field(default=4096, validator=[check.ge(2), check.le(MOST)])
    z_channels: int = attrs.field(default=32, validator=check.ge(1))
    ch: int = 160
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    in_channels: int = 3
    groups: int = 32
    share_quant_resi: int = attrs.field(default=4, validator=check.ge(0))  # phi convolutions; 0: one a scale
    quant_resi: float = attrs.field(default=0.5, validator=[check.ge(0.0), check.le(1.0)])
    using_znorm: bool = False  # nearest code by cosine similarity instead of distance
    beta: float = attrs.field(default=0.25, validator=check.ge(0.0))

    def __attrs_post_init__(self) -> None:
        if any(pn > self.patch_nums[-1] for pn in self.patch_nums):
            raise ConfigError(f"patch_nums={self.patch_nums} must end with its largest scale")
        _few_tokens(self.patch_nums, self.panels)
        _ = self.backbone  # which checks its widths

    @property
    def backbone(self) -> BackboneConfig:
        """Encoder and decoder: attention at the lowest resolution, packed qkv."""
        return BackboneConfig(
            ch=self.ch,
            ch_mult=self.ch_mult,
            num_res_blocks=self.num_res_blocks,
            in_channels=self.in_channels,
            z_channels=self.z_channels,
            groups=self.groups,
            attn_levels=(len(self.ch_mult) - 1,),
            packed_qkv=True,
        )

    @property
    def image_side(self) -> int:
        """Pixels along one side of a panel."""
        return self.patch_nums[-1] * self.backbone.downsample


@attrs.frozen(kw_only=True)
class VARConfig:
    """The transformer. `width` and `heads` of 0 follow the depth: 64 * depth and depth."""

    depth: int = attrs.field(default=16, validator=[check.ge(1), check.le(MOST_BLOCKS)])
    width: int = attrs.field(default=0, validator=[check.ge(0), check.le(MOST)])
    heads: int = attrs.field(default=0, validator=check.ge(0))
    mlp_ratio: float = attrs.field(default=4.0, validator=[check.gt(0.0), check.le(1000.0)])
    patch_nums: tuple[int, ...] = attrs.field(default=PATCH_NUMS_256, validator=_scales)
    panels: int = attrs.field(default=1, validator=[check.ge(1), check.le(MOST_TOKENS)])
    """See `panel_steps`; all released models have one."""
    vocab: int = attrs.field(default=4096, validator=[check.ge(2), check.le(MOST)])
    code_width: int = attrs.field(default=32, validator=[check.ge(1), check.le(MOST)])
    num_classes: int = attrs.field(default=1000, validator=[check.ge(1), check.le(MOST)])
    shared_aln: bool = False
    attn_l2_norm: bool = True
    class_drop: float = attrs.field(
        default=0.1, validator=[check.ge(0.0), check.le(1.0)]
    )  # for training only
    norm_eps: float = attrs.field(default=1e-6, validator=[check.gt(0.0), check.le(1.0)])

    def __attrs_post_init__(self) -> None:
        if self.model_width % self.n_heads:
            raise ConfigError(f"heads={self.n_heads} must divide width={self.model_width}")
        _few_tokens(self.patch_nums, self.panels)

    def same_network(self, other: "VARConfig") -> bool:
        """Whether the sizes are the same, however they were given."""

        def sizes(config: VARConfig) -> tuple[object, ...]:
            full = attrs.evolve(config, width=config.model_width, heads=config.n_heads)
            return attrs.astuple(attrs.evolve(full, class_drop=0.0, norm_eps=1.0))

        return sizes(self) == sizes(other)

    @property
    def model_width(self) -> int:
        """Channels of the residual stream."""
        return self.width or 64 * self.depth

    @property
    def n_heads(self) -> int:
        """Attention heads."""
        return self.heads or self.depth

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """Tokens per step."""
        return panel_steps(self.patch_nums, self.panels)

    @property
    def n_tokens(self) -> int:
        """Tokens per image."""
        return sum(self.step_sizes)


PRESETS: dict[str, tuple[VARConfig, VARTokenizerConfig]] = {
    **{f"d{depth}": (VARConfig(depth=depth), VARTokenizerConfig()) for depth in (16, 20, 24, 30)},
    "d36": (
        VARConfig(depth=36, patch_nums=PATCH_NUMS_512, shared_aln=True),
        VARTokenizerConfig(patch_nums=PATCH_NUMS_512),
    ),
}
"""The released models: d16 to d30 make 256x256 images, d36 makes 512x512."""
