"""A small method, with which the kit trains in milliseconds whatever is to be looked at beside training.

Shape legend: B batch, L tokens, C code width, V codes.
"""

from collections.abc import Callable, Mapping

import attrs
from torch import Tensor, nn

from ardistill.protocols import Condition, Draw, Jumps, Progress, Role
from ardistill.sampling import teacher_tokens
from ardistill.testing.toy import ToyTeacher, toy_teacher
from ardistill.testing.toy_networks import ToyJumper

BATCH, UPDATES = 4, 12
"""Images of an update, and updates of each phase."""


@attrs.frozen(eq=False)
class ToyPhase:
    """One role, a few updates."""

    name: str
    roles: Mapping[str, Role]
    losses: Callable[[str, Draw], Mapping[str, Tensor]]
    images: int = BATCH * UPDATES
    batch: int = BATCH

    def begin(self) -> None:
        """Nothing is copied when it starts."""

    def role(self, update: int) -> str:
        del update
        return "student"


class ToyMethod:
    """Two phases of cross-entropy: the tokens that the toy teacher draws, from noise that tells nothing of them."""

    def __init__(self, teacher: ToyTeacher | None = None) -> None:
        self.teacher = teacher or toy_teacher((1, 2))
        self.network, self.average = (self.teacher.jumper(Jumps(), seed=0) for _ in range(2))
        self.modules: Mapping[str, nn.Module] = {"student": self.network, "average": self.average}
        self.student_spec = self.network.spec

    def prepare(self, progress: Progress) -> None:
        """There is nothing to make."""

    def phases(self) -> tuple[ToyPhase, ...]:
        roles = {"student": Role(self.network, lr=1e-2, average=self.average, ema_cap=0.9)}
        return ToyPhase("first", roles, self.losses), ToyPhase("second", roles, self.losses)

    def student(self) -> ToyJumper:
        return self.average

    def losses(self, role: str, draw: Draw) -> Mapping[str, Tensor]:
        del role
        n_tokens, width = self.teacher.layout.n_tokens, self.teacher.tokenizer.codebook.shape[1]
        condition = Condition(draw.integers("label", self.teacher.n_classes))
        tokens_BL = teacher_tokens(self.teacher, condition, draw.uniform("token", n_tokens))
        made = self.network(draw.normal("noise", n_tokens, width), condition)
        logits_BVL = made.logits_BLV.transpose(1, 2)
        return {"ce": nn.functional.cross_entropy(logits_BVL, tokens_BL)}
