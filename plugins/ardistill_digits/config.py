"""The words of `ardistill pretrain digits`. No torch here. README.md says what the choices were tried against."""

from collections.abc import Mapping
from typing import Literal

import attrs
from attrs.validators import and_, ge, gt, le, lt

Part = Literal["all", "features", "tokenizer", "teacher", "vq", "gpt"]
Preset = Mapping[str, Mapping[str, object]]

SHARE = and_(ge(0.0), le(1.0))


@attrs.frozen(kw_only=True)
class FeaturesRecipe:
    """The feature network. Amounts are images, over all updates."""

    images: int = attrs.field(default=192_000, validator=ge(1))
    batch: int = attrs.field(default=128, validator=ge(1))
    lr: float = attrs.field(default=2e-3, validator=gt(0.0))
    weight_decay: float = attrs.field(default=0.01, validator=ge(0.0))
    smoothing: float = attrs.field(default=0.05, validator=SHARE)
    """Label smoothing: without it the features spread out and single digits dominate a Frechet distance."""
    dropout: float = attrs.field(default=0.2, validator=and_(ge(0.0), lt(1.0)))
    """On the features, so that no single one decides."""

    @classmethod
    def presets(cls) -> Preset:
        return {"quick": {"images": 25_600}}


@attrs.frozen(kw_only=True)
class CodingRecipe:
    """How either tokenizer is trained."""

    code_width: int = attrs.field(default=8, validator=ge(1))
    ch: int = attrs.field(default=8, validator=ge(1))
    ch_mult: tuple[int, ...] = (1, 2, 4)
    groups: int = attrs.field(default=4, validator=ge(1))

    images: int = attrs.field(default=192_000, validator=ge(1))
    batch: int = attrs.field(default=64, validator=ge(1))
    lr: float = attrs.field(default=2e-3, validator=gt(0.0))
    free_share: float = attrs.field(default=1 / 6, validator=and_(ge(0.0), lt(1.0)))
    """The first part of training has no quantizer: the codebook then starts from features worth coding."""
    restart_share: float = attrs.field(default=0.7, validator=SHARE)
    """Until here, codes that nobody uses are moved."""
    l1: float = attrs.field(default=0.5, validator=ge(0.0))
    perceptual: float = attrs.field(default=2e-3, validator=ge(0.0))
    """Weight of the squared error of the feature network's features."""

    @classmethod
    def presets(cls) -> Preset:
        return {"quick": {"images": 9_600}}


@attrs.frozen(kw_only=True)
class TokenizerRecipe(CodingRecipe):
    """VAR's multi-scale tokenizer: sizes, then training."""

    patch_nums: tuple[int, ...] = (1, 2, 3, 4)
    vocab: int = attrs.field(default=128, validator=ge(2))
    coarse: float = attrs.field(default=0.1, validator=ge(0.0))
    """Weight of reconstructing from the first scales alone, which makes them carry what is common to the rest."""
    coarse_scales: int = attrs.field(default=0, validator=ge(0))
    """How many first scales those are; 0 draws their number for every batch, all but the last at most."""
    label: float = attrs.field(default=0.0, validator=ge(0.0))
    """Weight of the cross-entropy of a linear layer that tells the class from the first scale's codes."""
    codes_by_scale: bool = False
    """Whether k-means gives every scale as many codes, instead of sharing all among all scales' vectors."""


@attrs.frozen(kw_only=True)
class VQRecipe(CodingRecipe):
    """LlamaGen's tokenizer: one map of codes of length 1."""

    codebook_size: int = attrs.field(default=128, validator=ge(2))
    z_channels: int = attrs.field(default=32, validator=ge(1))


@attrs.frozen(kw_only=True)
class TransformerRecipe:
    """Sizes and training of either transformer."""

    width: int = attrs.field(default=64, validator=ge(1))
    depth: int = attrs.field(default=4, validator=ge(1))
    heads: int = attrs.field(default=4, validator=ge(1))

    copies: int = attrs.field(default=64, validator=ge(1))
    """Warped copies of the training scans that are tokenized beforehand."""
    images: int = attrs.field(default=384_000, validator=ge(1))
    batch: int = attrs.field(default=64, validator=ge(1))
    lr: float = attrs.field(default=3e-3, validator=gt(0.0))
    weight_decay: float = attrs.field(default=0.05, validator=ge(0.0))
    class_drop: float = attrs.field(default=0.1, validator=SHARE)
    ema: float = attrs.field(default=0.998, validator=SHARE)
    top_p: float = attrs.field(default=0.0, validator=SHARE)

    @classmethod
    def presets(cls) -> Preset:
        return {"quick": {"copies": 4, "images": 9_600}}


@attrs.frozen(kw_only=True)
class TeacherRecipe(TransformerRecipe):
    """The VAR transformer, and how it samples."""

    cfg: float = attrs.field(default=0.0, validator=ge(0.0))
    """VAR's own: 0 is no guidance."""


@attrs.frozen(kw_only=True)
class GPTRecipe(TransformerRecipe):
    """The LlamaGen transformer, and how it samples."""

    cfg: float = attrs.field(default=1.0, validator=ge(0.0))
    """LlamaGen's own: 1 is no guidance."""


@attrs.frozen(kw_only=True)
class DigitsRecipe:
    """What to make, and how. A part reads the parts before it from the output folder."""

    part: Part = "all"
    seed: int = attrs.field(default=0, validator=and_(ge(0), le(2**63 - 1)))
    quick: bool = False
    """A minute's work that gives files of the right form and poor quality, for tests."""
    features: FeaturesRecipe = attrs.field(factory=FeaturesRecipe)
    tokenizer: TokenizerRecipe = attrs.field(factory=TokenizerRecipe)
    teacher: TeacherRecipe = attrs.field(factory=TeacherRecipe)
    vq: VQRecipe = attrs.field(factory=VQRecipe)
    gpt: GPTRecipe = attrs.field(factory=GPTRecipe)
