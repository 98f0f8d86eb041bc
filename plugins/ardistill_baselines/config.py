"""The words of the baselines. No torch here."""

from collections.abc import Mapping
from pathlib import Path

import attrs
from attrs.validators import ge


@attrs.frozen(kw_only=True)
class OneStepConfig:
    """The words of `method=onestep*`."""

    samples: int = attrs.field(default=5_000, validator=ge(1))
    """Teacher samples, the classes in turn, that the frequencies are counted from."""

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        return {"quick": {"samples": 1_000}}


@attrs.frozen(kw_only=True)
class SkipConfig(OneStepConfig):
    """The words of `method=skip-n`."""

    n: int = attrs.field(default=1, validator=[ge(1), attrs.validators.le(999_999)])
    """The last steps that are drawn in parallel; the teacher emits those before them."""


@attrs.frozen(kw_only=True)
class FrequenciesSettings:
    """The words of `student=onestep*` and `student=skip-n`: the student.safetensors of a run."""

    checkpoint: Path | None = None
