"""A method made to be looked at, again and again from the same start, and trained for a few updates.

Shape legend: B batch.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn

from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, DistillMethod, Phase, RunContext
from ardistill.testing.conformity import Case
from ardistill.testing.subjects import Rebuild, StudentSubject, TeacherSubject
from ardistill.training.optimise import Optimiser
from ardistill.training.signals import Signals
from ardistill.training.step import Engine, Step
from ardistill.values import Features

Make = Callable[[ARTeacher, RunContext], DistillMethod]
"""The target of a `records.MethodOffer` with its settings given."""
SEED = 3


class Quiet:
    """Progress that nobody watches."""

    def advance(self, done: int, total: int, what: str) -> None:
        pass


def pixels(images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """A feature network of a kind, for methods that need one: the pixels themselves, of no class."""
    return images_BCHW.flatten(1), images_BCHW.new_zeros(len(images_BCHW), 0)


@attrs.define(eq=False, slots=False)
class MethodSubject:
    """A method's factory; `folder` is the run's, in which it is prepared once."""

    make: Make
    teacher: ARTeacher
    folder: Path
    rebuild: Rebuild | None = None
    features: Features = pixels
    n_steps: int = 4
    """A case's `step` is a jump of its student, counted round."""
    _method: DistillMethod | None = None

    @property
    def device(self) -> torch.device:
        return self.teacher.tokenizer.codebook.device

    def made(self, folder: Path) -> DistillMethod:
        return self.make(self.teacher, RunContext(SEED, folder, self.device, self.features))

    def fresh(self) -> DistillMethod:
        """One just made and prepared, in the run's folder."""
        method = self.made(self.folder)
        method.prepare(Quiet())
        return method

    @property
    def method(self) -> DistillMethod:
        """The one that `entered` goes through."""
        assert self._method is not None
        return self._method

    @cached_property
    def student(self) -> StudentSubject:
        """The student as a prepared method has it, to be looked at as any."""
        method = self.fresh()
        student = method.student()
        if isinstance(student, nn.Module):
            student.eval()
        return StudentSubject(
            student, TeacherSubject(self.teacher), spec=method.student_spec, rebuild=self.rebuild
        )

    def entered(self, case: Case) -> Iterator[tuple[Phase, str]]:
        """Every phase with each of its roles, of one fresh method, whose phases begin on the way."""
        del case
        self._method = self.fresh()
        for phase in self.method.phases():
            phase.begin()
            for role in phase.roles:
                yield phase, role

    def draw(self, phase: Phase, first: int, count: int) -> Draw:
        """What training draws for these images of the phase."""
        return Draw(SEED, f"train/{phase.name}", first, count, self.device)


def begun(method: DistillMethod, index: int) -> Phase:
    """A method's phase, all those before it having begun, too."""
    phases = method.phases()
    for phase in phases[: index + 1]:
        phase.begin()
    return phases[index]


def optimisers_of(phase: Phase) -> dict[str, Optimiser]:
    return {name: Optimiser(role) for name, role in phase.roles.items()}


def updated(
    method: DistillMethod,
    phase: Phase,
    optimisers: Mapping[str, Optimiser],
    updates: range,
    engine: Engine | None = None,
) -> None:
    """Runs some of the phase's updates as the loop does."""
    device = next(iter(optimisers.values())).parameters[0].device
    step = Step(engine or Engine(), method.modules, SEED, device)
    for update in updates:
        role = phase.role(update)
        step(phase, role, optimisers[role], update * phase.batch, Signals())
