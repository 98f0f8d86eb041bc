"""The words of `teacher=maskgit` and `student=maskgit-dd1`, and what a student's own file says. No torch here."""

from pathlib import Path

import attrs
from ardistill_llamagen.settings import LlamaGenTokenizerSettings
from attrs import validators as check

from ardistill.schedules import Jumps
from ardistill_maskgit.config import MaskGITConfig


@attrs.frozen(kw_only=True)
class MaskGITTeacherSettings:
    """Where the weights are (without a path, the ones in this package), and how the teacher samples.

    `steps` is the number of network passes that unmask an image. Settings that are not given come from the weights
    file. `cfg` is 0 for no guidance: logits are cond + cfg (cond - null) in every step.
    """

    checkpoint: Path | None = None
    tokenizer: LlamaGenTokenizerSettings = attrs.field(factory=LlamaGenTokenizerSettings)
    steps: int | None = attrs.field(default=None, validator=check.optional(check.ge(1)))
    cfg: float | None = attrs.field(default=None, validator=check.optional(check.ge(0.0)))
    temperature: float | None = attrs.field(default=None, validator=check.optional(check.gt(0.0)))
    top_k: int | None = attrs.field(default=None, validator=check.optional(check.ge(0)))
    top_p: float | None = attrs.field(default=None, validator=check.optional([check.ge(0.0), check.le(1.0)]))


@attrs.frozen(kw_only=True)
class MaskGITStudentSettings:
    """Where a student's weights are: the student.safetensors of a run."""

    checkpoint: Path | None = None


@attrs.frozen(kw_only=True)
class MaskGITDD1Record(Jumps):
    """What rebuilds a student: its network, the tokens of its teacher's steps, and its jumps."""

    network: MaskGITConfig
    sizes: tuple[int, ...]
