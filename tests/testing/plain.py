"""A method, its student and a trajectory that keep every promise; `broken` has one defect each."""

import attrs
import torch
from torch import nn

from ardistill.protocols import Condition, Jump, Prediction, Role, StudentSpec
from ardistill.sampling import teacher_tokens
from ardistill.testing.toy import toy_teacher

TEACHER = toy_teacher((1, 2, 2), n_codes=5, top_k=3)


class PlainStudent(nn.Module):
    """Regresses codes from noise: the teacher's trunk and a linear head."""

    jumps = (Jump(0),)

    def __init__(self, teacher, seed=0):
        super().__init__()
        self.schedules = {}
        width = teacher.tokenizer.codebook.shape[1]
        self.trunk = teacher.trunk()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(self.trunk.width + width, width)

    def forward(self, noise_BLC, condition):
        return self.head(torch.cat([self.trunk(noise_BLC, condition), noise_BLC], dim=-1)).float()

    @torch.no_grad()
    def jump(self, latents_BLC, condition, start=0):
        return Prediction(self(latents_BLC, condition))


def rebuild(settings, teacher):
    return PlainStudent(teacher, **settings)


@attrs.define(eq=False)
class PlainPhase:
    name: str
    roles: dict
    losses: object
    begin: object
    images: int = 64
    batch: int = 8

    def role(self, update):
        return "student"


class PlainMethod:
    """Two phases with one role; the second begins from the average of the first."""

    student_class = PlainStudent

    def __init__(self, teacher, context):
        self.teacher, self.context = teacher, context
        self.student_spec = StudentSpec("plain", {"seed": context.seed})
        self.network, self.average = (self.student_class(teacher, context.seed) for _ in range(2))
        self.modules = {"student": self.network, "average": self.average}

    def prepare(self, progress):
        progress.advance(1, 1, "nothing")

    def phases(self):
        roles = {"student": Role(self.network, lr=1e-2, average=self.average)}
        return (
            PlainPhase("first", roles, self.losses, lambda: None),
            PlainPhase("second", roles, self.losses, self.begin),
        )

    def begin(self):
        self.network.load_state_dict(self.average.state_dict())

    def student(self):
        return self.average

    def losses(self, role, draw):
        codes_VC, condition = self.teacher.tokenizer.codebook, Condition(draw.integers("label", 3))
        noise_BLC = draw.normal("noise", self.teacher.layout.n_tokens, codes_VC.shape[1])
        tokens_BL = teacher_tokens(self.teacher, condition, torch.special.ndtr(noise_BLC[..., 0]))
        return {"mse": (self.network(noise_BLC, condition) - codes_VC[tokens_BL]).square().mean()}


def by_quantile(settings, teacher, condition, noise_BLC, draw):
    """A trajectory of noise: its first number, made uniform, decides the token."""
    return teacher_tokens(teacher, condition, torch.special.ndtr(noise_BLC[..., 0]))
