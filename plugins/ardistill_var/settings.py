"""The words of `teacher=var` and `tokenizer=var`. No torch here."""

from pathlib import Path

import attrs
from attrs import validators as check


@attrs.frozen(kw_only=True)
class VARTokenizerSettings:
    """Where the tokenizer's weights are; without a path, the ones bundled with the data."""

    checkpoint: Path | None = None


@attrs.frozen(kw_only=True)
class VARTeacherSettings:
    """Where the teacher's weights are, and how it samples.

    Sampling settings that are not given come from the weights file, else they are those the DD papers use
    (cfg 2.0, top-k 900, top-p 0.95). `cfg` is VAR's own: 0 is none, and it ramps over the scales.
    """

    checkpoint: Path | None = None
    tokenizer: VARTokenizerSettings = attrs.field(factory=VARTokenizerSettings)
    cfg: float | None = attrs.field(default=None, validator=check.optional(check.ge(0.0)))
    top_k: int | None = attrs.field(default=None, validator=check.optional(check.ge(0)))
    top_p: float | None = attrs.field(default=None, validator=check.optional([check.ge(0.0), check.le(1.0)]))
