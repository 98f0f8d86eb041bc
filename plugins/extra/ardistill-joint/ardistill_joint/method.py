"""Trajectories first, the distribution after.

1. *Start*: on pairs of noise and tokens (DD1, section 3.1) the student's network learns, reading the noise, the
   distribution that the teacher has for every token given the pair's earlier ones.
2. *Distribution*: a guidance network follows what the student's tokens are distributed like, given the earlier ones
   (DD2, section 3.2). Tokens are discrete, so it learns by plain cross-entropy, begins as the teacher, and both
   conditional distributions are known whole: their divergence takes the place of the gap between scores. Beside
   it, fading, stands the cross-entropy of the start, along the student's own tokens: a reverse divergence alone lets
   distributions narrow.
3. *Closing*: the block that tells the last step learns by both losses along pairs. It reads no noise, so that what it
   says is its distribution given the earlier tokens, and no guidance network has to follow it.

Shape legend: B batch, L tokens, K tokens that the student's network tells, M of the last step where it does not, V
codes, C code width.
"""

import copy
from collections.abc import Callable, Mapping

import attrs
import torch
import torch.nn.functional as F
from ardistill_dd1.losses import token_weights
from ardistill_dd1.order import Epochs
from ardistill_dd1.pairing import flow_matching
from torch import Tensor, nn

from ardistill.protocols import ARTeacher, Condition, Draw, Phase, Progress, Role, RunContext, StudentSpec
from ardistill.trajectories import Pairing, Pairs
from ardistill_joint.closing import ClosingSettings
from ardistill_joint.config import JointConfig
from ardistill_joint.guidance import Guidance
from ardistill_joint.losses import reverse_kl, soft_cross_entropy
from ardistill_joint.student import FlowStudent, JointStudentRecord, student_of


@attrs.frozen(eq=False)
class JointPhase:
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
        codes_VC = teacher.tokenizer.codebook
        closing = config.closing if config.closing_images else ClosingSettings(width=0)
        record = JointStudentRecord(config.trajectory, closing)
        self.network = student_of(teacher, record, context.seed)
        self.average, self.guidance = copy.deepcopy(self.network), Guidance(teacher)
        self.modules: Mapping[str, nn.Module] = {
            "student": self.network,
            "average": self.average,
            "guidance": self.guidance,
        }
        self.student_spec = StudentSpec("joint", attrs.asdict(record))
        pairing = Pairing("flow-matching", config.trajectory, flow_matching)
        self.pairs = Pairs.at(context.folder / "pairs", teacher, pairing, context.seed)
        self.epochs = Epochs(config.n_pairs, context.seed)
        self._weights_L = token_weights(teacher.layout, config.balance).to(codes_VC.device)

    def prepare(self, progress: Progress) -> None:
        c = self.config
        self.pairs.collect(c.n_pairs, batch=c.collect_batch, progress=progress)

    def student(self) -> FlowStudent:
        return self.average

    def phases(self) -> tuple[Phase, ...]:
        c, network = self.config, self.network
        start = self._role(network.network, c.start_lr, self.average.network)
        guidance = self._role(self.guidance, c.guidance_lr)
        student = self._role(network.network, c.lr, self.average.network)
        both = {"guidance": guidance, "student": student}
        phases = [
            JointPhase("start", c.start_images, c.start_batch, {"student": start}, _nothing, self._start),
            JointPhase(
                "guidance", c.guidance_images, c.batch, {"guidance": guidance}, self._fork, self._match
            ),
            JointPhase("distribution", c.images, c.batch, both, self._fork_once, self._match, c.ratio),
        ]
        if network.closing is not None:
            closing = self._role(network.closing, c.closing_lr, self.average.closing)
            phases.append(
                JointPhase(
                    "closing", c.closing_images, c.closing_batch, {"closing": closing}, _nothing, self._close
                )
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
        self.network.load_state_dict(self.average.state_dict())

    def _fork_once(self) -> None:
        if not self.config.guidance_images:
            self._fork()

    def _start(self, role: str, draw: Draw) -> Mapping[str, Tensor]:
        """The teacher's distributions along the tokens that the noise means to it."""
        del role
        pair = self.pairs.take(self.epochs.pairs(draw.indices()))
        target_BLV = self._teacher(pair.tokens_BL, pair.condition)
        log_p_BKV = self.network.log_probs(pair.noise_BLC, pair.condition)
        told = self.network.told
        return {"ce": soft_cross_entropy(log_p_BKV, target_BLV[:, told], self._weights_L[told])}

    def _match(self, role: str, draw: Draw) -> Mapping[str, Tensor]:
        """The guidance network learns the student's tokens; the student leaves those that it makes too often."""
        condition = Condition(draw.integers("label", self.teacher.n_classes))
        layout, codes_VC = self.teacher.layout, self.teacher.tokenizer.codebook
        noise_BLC = draw.normal("noise", layout.n_tokens, codes_VC.shape[1])
        with torch.set_grad_enabled(role == "student"):
            log_p_BKV = self.network.log_probs(noise_BLC, condition)
        told = self.network.told
        tokens_BK = self.network.tokens(noise_BLC[:, told], log_p_BKV)
        # The last step's, where another network tells them, are seen by nobody: any will do.
        tokens_BL = F.pad(tokens_BK, (0, layout.n_tokens - tokens_BK.shape[1]))
        teacher_BLV = self._teacher(tokens_BL, condition)
        with torch.set_grad_enabled(role == "guidance"):
            own_BKV = self.guidance(teacher_BLV, codes_VC[tokens_BL], condition)[:, told]
        if role == "guidance":
            return {"follow": F.nll_loss(own_BKV.flatten(0, 1), tokens_BK.flatten())}
        return self._approach(log_p_BKV, own_BKV, teacher_BLV[:, told], told, draw, self.config.images)

    def _close(self, role: str, draw: Draw) -> Mapping[str, Tensor]:
        """As `_match`, along pairs: what the block says is all there is to know of its distribution."""
        del role
        closing = self.network.closing
        assert closing is not None
        pair = self.pairs.take(self.epochs.pairs(draw.indices()))
        last = slice(closing.n_earlier, None)
        teacher_BMV = self._teacher(pair.tokens_BL, pair.condition)[:, last]
        log_p_BMV = closing(self.network.codes_VC[pair.tokens_BL[:, : closing.n_earlier]], pair.condition)
        return self._approach(log_p_BMV, log_p_BMV, teacher_BMV, last, draw, self.config.closing_images)

    def _approach(
        self, log_p_BLV: Tensor, own_BLV: Tensor, teacher_BLV: Tensor, at: slice, draw: Draw, images: int
    ) -> Mapping[str, Tensor]:
        """To the teacher along the divergence, and, fading over the phase's images, by cross-entropy."""
        c = self.config
        fading_B = c.anchor * (1 - draw.indices() / images)
        return {
            "divergence": reverse_kl(log_p_BLV, own_BLV, teacher_BLV, bound=c.bound),
            "anchor": soft_cross_entropy(log_p_BLV, teacher_BLV, self._weights_L[at], fading_B),
        }

    @torch.no_grad()
    def _teacher(self, tokens_BL: Tensor, condition: Condition) -> Tensor:
        """(B, L, V): its log-probabilities given the earlier tokens."""
        return self.teacher.log_probs(condition, self.teacher.tokenizer.codebook[tokens_BL])


def _nothing() -> None: ...
