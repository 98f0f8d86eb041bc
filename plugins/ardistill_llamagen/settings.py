"""The words of `teacher=llamagen` and `tokenizer=llamagen`. No torch here."""

from collections.abc import Mapping
from pathlib import Path

import attrs
from attrs import validators as check

from ardistill_llamagen.config import PRESETS


@attrs.frozen(kw_only=True)
class LlamaGenTokenizerSettings:
    """Where the tokenizer's weights are; without a path, the ones bundled with the data.

    `image_size` is in pixels along one side; without it, that of the teacher's tokens, or 256.
    """

    checkpoint: Path | None = None
    image_size: int | None = attrs.field(default=None, validator=check.optional(check.ge(1)))


@attrs.frozen(kw_only=True)
class LlamaGenTeacherSettings:
    """Where the teacher's weights are, what their shapes can't tell, and how it samples.

    `preset` makes sure that the file holds that released model. `n_head`, `block_size` (tokens of an image),
    `rope_base` and `norm_eps` come from the file's own words where it has any; else the heads are those of the
    released model of that size, the tokens are the tokenizer's, and the others upstream's defaults.

    Sampling settings that are not given come from the weights file, else they are those the DD papers use (cfg 2.0,
    top-k 8000, top-p 1.0). `cfg` is LlamaGen's own: up to 1 is none. `cfg_interval` ends guidance after that many
    tokens, as upstream counts them; -1 never does.

    `text_encoder` is a folder with the T5 encoder that turns `captions=prompts.txt` into features.
    """

    preset: str = ""
    checkpoint: Path | None = None
    tokenizer: LlamaGenTokenizerSettings = attrs.field(factory=LlamaGenTokenizerSettings)
    cfg: float | None = attrs.field(default=None, validator=check.optional(check.ge(0.0)))
    cfg_interval: int | None = attrs.field(default=None, validator=check.optional(check.ge(-1)))
    top_k: int | None = attrs.field(default=None, validator=check.optional(check.ge(0)))
    top_p: float | None = attrs.field(default=None, validator=check.optional([check.ge(0.0), check.le(1.0)]))
    temperature: float | None = attrs.field(default=None, validator=check.optional(check.gt(0.0)))
    block_size: int | None = attrs.field(default=None, validator=check.optional(check.ge(1)))
    n_head: int | None = attrs.field(default=None, validator=check.optional(check.ge(1)))
    rope_base: float | None = attrs.field(default=None, validator=check.optional(check.gt(0.0)))
    norm_eps: float | None = attrs.field(default=None, validator=check.optional(check.gt(0.0)))
    text_encoder: Path | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        """The released models. They set nothing: the weights say all there is."""
        return {name: {} for name in PRESETS}
