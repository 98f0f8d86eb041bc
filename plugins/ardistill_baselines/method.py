"""The baselines as methods: nothing is trained, `prepare` counts."""

from collections.abc import Mapping
from typing import Any

import attrs
from torch import nn

from ardistill.baselines import Frequencies, check_samples, count
from ardistill.protocols import ARTeacher, Phase, Progress, RunContext, StudentSpec
from ardistill.schedules import ONESTEP
from ardistill_baselines.config import OneStepConfig, SkipConfig

_NAME = "baseline"


@attrs.frozen(eq=False)
class Counting:
    """The method behind `method=onestep*` and `method=skip-n`."""

    student_spec: StudentSpec
    teacher: ARTeacher
    samples: int
    seed: int
    modules: Mapping[str, nn.Module]
    _student: Frequencies

    @classmethod
    def of(cls, offer: str, name: str, samples: int, teacher: ARTeacher, context: RunContext) -> "Counting":
        check_samples(samples, teacher, "method.samples")
        student = Frequencies(name, teacher)
        spec = StudentSpec(offer, {_NAME: name})
        return cls(spec, teacher, samples, context.seed, {"frequencies": student}, student)

    def prepare(self, progress: Progress) -> None:
        count([self._student], self.teacher, self.samples, self.seed, "frequencies", progress)

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def student(self) -> Frequencies:
        return self._student


def onestep(config: OneStepConfig, teacher: ARTeacher, context: RunContext) -> Counting:
    return Counting.of(ONESTEP, ONESTEP, config.samples, teacher, context)


def skip(config: SkipConfig, teacher: ARTeacher, context: RunContext) -> Counting:
    return Counting.of("skip-n", f"skip-{config.n}", config.samples, teacher, context)


def rebuild(settings: Mapping[str, Any], teacher: ARTeacher) -> Frequencies:
    """The baseline that the settings name, ready for its table."""
    return Frequencies(settings[_NAME], teacher)
