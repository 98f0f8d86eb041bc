"""What is checked, and the examples that it is checked on.

Shape legend: B batch, L tokens, V codes, C code width.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ardistill.protocols import (
    Alignment,
    ARTeacher,
    Condition,
    Jump,
    Jumps,
    Prediction,
    Student,
    StudentSpec,
)
from ardistill.testing.conformity import Case
from ardistill.testing.looking import stir

Rebuild = Callable[[Mapping[str, Any], ARTeacher], nn.Module]
"""The target of a `records.StudentOffer`: (settings, teacher) -> a student ready for its weights."""


@attrs.define(eq=False, slots=False)
class TeacherSubject:
    """A teacher; a case's `step` is one of its steps.

    `example` is a condition whose rows are drawn where the teacher has no classes.
    """

    teacher: ARTeacher
    example: Condition | None = None
    rebuild: Rebuild | None = None
    """How the teacher's own student is rebuilt; without it, as the registry says."""

    @property
    def n_steps(self) -> int:
        return self.teacher.layout.n_steps

    @property
    def device(self) -> torch.device:
        return self.teacher.tokenizer.codebook.device

    def condition(self, case: Case) -> Condition:
        draw = case.own(self.device)
        if self.example is None:
            return Condition(draw.integers("label", self.teacher.n_classes))
        rows_B = draw.integers("row", len(self.example))
        return self.example.to(self.device).map(lambda tensor: tensor[rows_B])

    def tokens(self, case: Case, name: str = "token") -> Tensor:
        """(B, L) at random, whatever the teacher thinks of them."""
        n_codes = len(self.teacher.tokenizer.codebook)
        return case.own(self.device).integers(name, n_codes, self.teacher.layout.n_tokens)

    def noise(self, case: Case, name: str = "noise") -> Tensor:
        """(B, L, C)."""
        width = self.teacher.tokenizer.codebook.shape[1]
        return case.own(self.device).normal(name, self.teacher.layout.n_tokens, width)

    def log_probs(self, case: Case, tokens_BL: Tensor) -> Tensor:
        """(B, L, V) of all steps."""
        with torch.no_grad():
            return self.teacher.log_probs(self.condition(case), self.teacher.tokenizer.codebook[tokens_BL])

    def after(self, case: Case, step: int, latents_BLC: Tensor) -> Tensor:
        """(B, L, C): other latents, of the case, from `step` on."""
        cut = self.teacher.layout.offset(step)
        return torch.cat([latents_BLC[:, :cut], self.noise(case, "other")[:, cut:]], dim=1)

    @cached_property
    def jumper(self) -> "StudentSubject":
        """The teacher's own student, with a second jump where there are steps enough."""
        starts = (0, 1) if self.n_steps > 1 else (0,)
        student: Any = self.teacher.jumper(Jumps(starts=starts, split=self.n_steps), seed=0)
        stir(student)  # what starts at zero would hide whatever it is to do
        return StudentSubject(student.eval(), self, sees="own", spec=student.spec, rebuild=self.rebuild)


@attrs.define(eq=False, slots=False)
class StudentSubject:
    """A student; a case's `step` is one of its jumps, those of its schedules included.

    `sees` is what its positions may see, `spec` and `rebuild` are what makes one like it, `again` another way to.
    """

    student: Student
    of: TeacherSubject
    sees: Alignment | None = None
    spec: StudentSpec | None = None
    rebuild: Rebuild | None = None
    again: Callable[[], Student] | None = None

    @property
    def n_steps(self) -> int:
        return len(self.moves)

    @property
    def teacher(self) -> ARTeacher:
        return self.of.teacher

    @property
    def moves(self) -> list[Jump]:
        """Every jump it knows."""
        scheduled = [move for plan in self.student.schedules.values() for move in plan.moves]
        return list(
            dict.fromkeys([*self.student.jumps, *(move for move in scheduled if isinstance(move, Jump))])
        )

    @property
    def module(self) -> nn.Module:
        assert isinstance(self.student, nn.Module)
        return self.student

    def move(self, case: Case) -> Jump:
        return self.moves[case.step % len(self.moves)]

    def state(self, case: Case) -> Tensor:
        """(B, L, C): codes before the case's jump, noise from there on."""
        codes_BLC = self.teacher.tokenizer.codebook[self.of.tokens(case)]
        cut = self.teacher.layout.offset(self.move(case).start)
        return torch.cat([codes_BLC[:, :cut], self.of.noise(case)[:, cut:]], dim=1)

    def jump(self, case: Case, latents_BLC: Tensor, rows: slice = slice(None)) -> Prediction:
        """The case's jump from the given latents, or from some rows of them."""
        with torch.no_grad():
            condition = self.of.condition(case)[rows]
            return self.student.jump(latents_BLC[rows], condition, self.move(case).start)
