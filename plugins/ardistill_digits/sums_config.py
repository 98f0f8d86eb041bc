"""The words of `ardistill pretrain digit-sums`. No torch here. README.md says what the choices were tried against."""

from typing import Literal

import attrs
from attrs.validators import and_, deep_iterable, ge, gt, le, min_len

from ardistill_digits.config import Preset, TeacherRecipe, TokenizerRecipe

SumsPart = Literal["all", "tokenizer", "teacher"]


@attrs.frozen(kw_only=True)
class SumsTokenizerRecipe(TokenizerRecipe):
    """The tokenizer of one digit, which serves both. Its first token has to say which digit it is.

    Else the digit is decided by later scales, whose tokens are drawn at once, and no teacher can keep to a sum.
    """

    patch_nums: tuple[int, ...] = (1, 2, 4)
    vocab: int = attrs.field(default=96, validator=ge(2))
    images: int = attrs.field(default=160_000, validator=ge(1))
    coarse: float = attrs.field(default=0.25, validator=ge(0.0))
    coarse_scales: int = attrs.field(default=1, validator=ge(0))
    label: float = attrs.field(default=0.1, validator=ge(0.0))
    codes_by_scale: bool = True


@attrs.frozen(kw_only=True)
class SumsTeacherRecipe(TeacherRecipe):
    """The VAR transformer of pairs."""

    images: int = attrs.field(default=192_000, validator=ge(1))
    ema: float = attrs.field(default=0.995, validator=and_(ge(0.0), le(1.0)))
    scale_weights: tuple[float, ...] = attrs.field(
        default=(4.0, 2.0, 1.0), validator=and_(min_len(1), deep_iterable(ge(0.0)))
    )
    """Of the cross-entropies of a scale's tokens, the last serving all later scales."""

    prefix_images: int = attrs.field(default=51_200, validator=ge(0))
    """The first part of training sees the first scale's tokens alone: class and left digit say nothing of the right
    digit by themselves, only together, which takes long to find among the other tokens."""
    prefix_batch: int = attrs.field(default=256, validator=ge(1))
    prefix_lr: float = attrs.field(default=2e-3, validator=gt(0.0))

    @classmethod
    def presets(cls) -> Preset:
        return {"quick": {"copies": 4, "images": 6_400, "prefix_images": 2_560}}


@attrs.frozen(kw_only=True)
class SumsRecipe:
    """What to make, and how. The teacher reads the tokenizer from the output folder."""

    part: SumsPart = "all"
    seed: int = attrs.field(default=0, validator=and_(ge(0), le(2**63 - 1)))
    quick: bool = False
    """Files of the right form and poor quality, for tests."""
    tokenizer: SumsTokenizerRecipe = attrs.field(factory=SumsTokenizerRecipe)
    teacher: SumsTeacherRecipe = attrs.field(factory=SumsTeacherRecipe)
