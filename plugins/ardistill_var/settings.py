"""The words of `teacher=var` and `tokenizer=var`. No torch here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs
from ardistill_vqgan.config import positive_ints
from attrs import validators as check

from ardistill_var.config import PRESETS


@attrs.frozen(kw_only=True)
class VARTokenizerSettings:
    """Where the tokenizer's weights are; without a path, the ones bundled with the data.

    The other words are for weights of another's training, where shapes alone can't tell: the sides of the scales (else
    the teacher's, or those released), whether the nearest code is found by cosine similarity, the share of the
    convolution in phi, and the weight of the commitment loss. Those not given come from the weights file, else they
    are as released.
    """

    checkpoint: Path | None = None
    v_patch_nums: tuple[int, ...] | None = attrs.field(default=None, validator=check.optional(positive_ints))
    using_znorm: bool | None = None
    quant_resi: float | None = attrs.field(
        default=None, validator=check.optional([check.ge(0.0), check.le(1.0)])
    )
    beta: float | None = attrs.field(default=None, validator=check.optional(check.ge(0.0)))


@attrs.frozen(kw_only=True)
class VARTeacherSettings:
    """Where the teacher's weights are, and how it samples.

    `preset` is a promise that these are that release's weights, and checked. `num_heads` and `norm_eps` are for weights
    of another's training, where shapes alone can't tell.

    Sampling settings that are not given come from the weights file, else they are those the DD papers use
    (cfg 2.0, top-k 900, top-p 0.95). `cfg` is VAR's own: 0 is none, and it ramps over the scales. `prefix` says how
    given scales are continued: causal, as the teacher emits them, or joint, as the released DD1 sampler does.
    """

    preset: str = ""
    checkpoint: Path | None = None
    tokenizer: VARTokenizerSettings = attrs.field(factory=VARTokenizerSettings)
    num_heads: int | None = attrs.field(default=None, validator=check.optional(check.ge(1)))
    norm_eps: float | None = attrs.field(default=None, validator=check.optional(check.gt(0.0)))
    cfg: float | None = attrs.field(default=None, validator=check.optional(check.ge(0.0)))
    top_k: int | None = attrs.field(default=None, validator=check.optional(check.ge(0)))
    top_p: float | None = attrs.field(default=None, validator=check.optional([check.ge(0.0), check.le(1.0)]))
    prefix: Literal["causal", "joint"] = "causal"

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        """The released models. They set nothing: the weights say all there is."""
        return {name: {} for name in PRESETS}
