"""Trajectories first, scores after.

1. *Start*: DD1's student learns by cross-entropy the tokens that the flow ties to its noise (DD1, section 3).
2. *Scores*: its tokens become codes, with the softmax's gradient (straight-through). A guidance network follows what
   its tokens are distributed like, given the earlier ones; it starts as the teacher, and since outputs are discrete it
   learns by plain cross-entropy. The student closes the gap between its conditional scores and the teacher's (DD2,
   equation 4), while the pairs' cross-entropy, fading, keeps it at its noise's tokens.

Shape legend: M draws, B batch, L tokens, V codes, C code width.
"""

from collections.abc import Callable, Mapping
from typing import cast

import attrs
import torch
import torch.nn.functional as F
from ardistill_dd1.losses import cross_entropy, token_weights
from ardistill_dd1.method import DD1
from torch import Tensor, nn

from ardistill.protocols import ARTeacher, Condition, Draw, Jumper, Phase, Progress, Role, RunContext
from ardistill_joint.config import JointConfig
from ardistill_joint.guidance import Guidance
from ardistill_joint.losses import score_distillation, straight_through


@attrs.frozen(eq=False)
class ScorePhase:
    """`ratio` updates of the first role for one of the second, where there is a second."""

    name: str
    images: int
    batch: int
    roles: Mapping[str, Role]
    begin: Callable[[], None]
    losses: Callable[[str, Draw], Mapping[str, Tensor]]
    ratio: int = 1

    def role(self, update: int) -> str:
        first, *rest = self.roles
        return rest[0] if rest and update % (self.ratio + 1) == self.ratio else first


class Joint:
    """The method behind `method=joint`."""

    def __init__(self, config: JointConfig, teacher: ARTeacher, context: RunContext) -> None:
        self.config, self.teacher = config, teacher
        self.start = DD1(config.start, teacher, context)
        self.network, self.guidance = self.start.network, Guidance(teacher)
        self.modules: Mapping[str, nn.Module] = {**self.start.modules, "guidance": self.guidance}
        self.student_spec = self.start.student_spec
        codes_VC = teacher.tokenizer.codebook
        self.unit = float(codes_VC.std())
        self.codes_VC = codes_VC / self.unit
        self._weights_L = token_weights(teacher.layout, config.balance).to(context.device)

    def prepare(self, progress: Progress) -> None:
        self.start.prepare(progress)

    def student(self) -> Jumper:
        return self.start.student()

    def phases(self) -> tuple[Phase, ...]:
        c = self.config
        guidance = self._role(self.guidance, c.guidance_lr)
        student = self._role(self.network, c.lr, self.start.average)
        both = {"guidance": guidance, "student": student}
        phases = (
            *(self.start.phases() if c.start_images else ()),
            ScorePhase(
                "guidance", c.guidance_images, c.batch, {"guidance": guidance}, self._fork, self._losses
            ),
            ScorePhase("scores", c.images, c.batch, both, self._fork_once, self._losses, c.ratio),
        )
        return tuple(phase for phase in phases if phase.images)

    def _role(self, module: nn.Module, lr: float, average: nn.Module | None = None) -> Role:
        c = self.config
        return Role(
            module=module,
            lr=lr,
            warmup=c.warmup_images,
            decay=c.decay,
            betas=c.betas,
            clip=c.clip,
            average=average,
            ema_cap=c.ema_cap,
        )

    def _fork(self) -> None:
        """The student goes on from its averaged weights."""
        self.network.load_state_dict(self.start.average.state_dict())

    def _fork_once(self) -> None:
        if not self.config.guidance_images:
            self._fork()

    def _losses(self, role: str, draw: Draw) -> Mapping[str, Tensor]:
        if role == "guidance":
            return self._follow(draw)
        pair = self.start.pairs.take(self.start.epochs.pairs(draw.indices()))
        logits_BLV = self._logits(pair.noise_BLC, pair.condition)
        tokens_BL, q_BLC = straight_through(logits_BLV, self.codes_VC)
        with torch.no_grad():
            teacher_BLV, guidance_BLV = self._both(tokens_BL, pair.condition)
        c, (n_tokens, width) = self.config, q_BLC.shape[1:]
        eps_MBLC = draw.normal("eps", c.draws, n_tokens, width).transpose(0, 1)
        t_MBL = c.t_min + (c.t_max - c.t_min) * draw.uniform("t", c.draws, n_tokens).transpose(0, 1)
        scores = score_distillation(
            q_BLC, eps_MBLC, t_MBL, teacher_BLV, guidance_BLV, self.codes_VC, alpha=c.alpha
        )
        fading_B1 = (1 - draw.indices() / c.images).unsqueeze(1)
        anchor = cross_entropy(logits_BLV, pair.tokens_BL, fading_B1 * self._weights_L, self._weights_L.sum())
        return {"scores": scores, "anchor": c.anchor * anchor}

    def _follow(self, draw: Draw) -> Mapping[str, Tensor]:
        """The guidance network learns the student's tokens."""
        condition = Condition(draw.integers("label", self.teacher.n_classes))
        noise_BLC = draw.normal("noise", self.teacher.layout.n_tokens, self.codes_VC.shape[1])
        with torch.no_grad():
            tokens_BL = self._logits(noise_BLC, condition).argmax(-1)
        _, guidance_BLV = self._both(tokens_BL, condition)
        return {"follow": F.nll_loss(guidance_BLV.flatten(0, 1), tokens_BL.flatten())}

    def _logits(self, noise_BLC: Tensor, condition: Condition) -> Tensor:
        logits_BLV = cast(Jumper, self.network)(noise_BLC, condition).logits_BLV
        assert logits_BLV is not None
        return logits_BLV

    def _both(self, tokens_BL: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """(B, L, V) each: log-probabilities given earlier tokens, the teacher's and the guidance network's."""
        prefix_BLC = self.teacher.tokenizer.codebook[tokens_BL]
        with torch.no_grad():
            teacher_BLV = self.teacher.log_probs(condition, prefix_BLC)
        return teacher_BLV, self.guidance(teacher_BLV, prefix_BLC, condition)
