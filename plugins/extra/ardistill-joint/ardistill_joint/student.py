"""The student: one pass predicts every token's distribution, and the flow draws the tokens from the noise.

Shape legend: B batch, L tokens, K tokens that the network tells, M of the last step where it does
not, V codes, C code width.
"""

from collections.abc import Mapping
from typing import Any, cast

import attrs
import cattrs
import torch
from ardistill_dd1.config import FlowSettings
from torch import Tensor, nn

from ardistill.flow import ode_map
from ardistill.protocols import ARTeacher, Condition, Jump, Jumper, Jumps, Prediction, Schedule
from ardistill_joint.closing import Closing, ClosingSettings


@attrs.frozen
class JointStudentRecord:
    """What rebuilds the student beside its teacher."""

    flow: FlowSettings = attrs.field(factory=FlowSettings)
    closing: ClosingSettings = attrs.field(factory=ClosingSettings)


class FlowStudent(nn.Module):
    """A `Student`: a network of the teacher's architecture that reads noise, and the flow behind its logits.

    The network says how token i is distributed given what the earlier noise means; the probability flow carries the
    token's own noise to a code under that distribution (DD1, section 3.1). So a token has its distribution's
    diversity, where the largest logit would have its mode, and it is still a function of the noise.

    The last step's tokens are told by `closing`, if there is one, from the earlier ones as the flow has drawn them.
    """

    jumps = (Jump(0),)
    schedules: Mapping[str, Schedule] = {}
    codes_VC: Tensor

    def __init__(
        self, network: nn.Module, codes_VC: Tensor, flow: FlowSettings, closing: Closing | None = None
    ) -> None:
        super().__init__()
        self.network, self.flow, self.closing = network, flow, closing
        self.register_buffer("codes_VC", codes_VC, persistent=False)

    @property
    def told(self) -> slice:
        """The positions that the network tells: all, or those before the last step."""
        return slice(None if self.closing is None else self.closing.n_earlier)

    def log_probs(self, noise_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, K, V), differentiable: how each token that the network tells is distributed."""
        logits_BLV = cast(Jumper, self.network)(noise_BLC, condition).logits_BLV
        assert logits_BLV is not None
        return logits_BLV[:, self.told].log_softmax(-1)

    @torch.no_grad()
    def tokens(self, noise_BKC: Tensor, log_p_BKV: Tensor) -> Tensor:
        """(B, K) int64: what the noise means under these distributions."""
        flow = self.flow
        return ode_map(
            noise_BKC,
            log_p_BKV,
            self.codes_VC,
            evaluations=flow.evaluations,
            solver=flow.solver,
            compiled=flow.compiled,
        )

    @torch.no_grad()
    def forward(self, noise_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L) int64: the tokens of the noise."""
        tokens_BK = self.tokens(noise_BLC[:, self.told], self.log_probs(noise_BLC, condition))
        if self.closing is None:
            return tokens_BK
        log_p_BMV = self.closing(self.codes_VC[tokens_BK], condition)
        return torch.cat([tokens_BK, self.tokens(noise_BLC[:, self.closing.n_earlier :], log_p_BMV)], dim=1)

    @torch.no_grad()
    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        if start != 0:
            raise ValueError(f"this student starts from noise, not from step {start}")
        return Prediction(self.codes_VC[self(latents_BLC, condition)])


def student_of(teacher: ARTeacher, record: JointStudentRecord, seed: int) -> FlowStudent:
    """Before training: DD1's network, on the teacher's weights and of one jump, and the block that closes.

    A teacher of one step leaves nothing to close.
    """
    n_steps = teacher.layout.n_steps
    network = teacher.jumper(Jumps(starts=(0,), split=n_steps), seed)
    closes = record.closing.width > 0 and n_steps > 1
    closing = Closing(record.closing, teacher, seed) if closes else None
    return FlowStudent(network, teacher.tokenizer.codebook, record.flow, closing)


def rebuild(settings: Mapping[str, Any], teacher: ARTeacher) -> FlowStudent:
    """A student of the given settings, ready for its weights."""
    return student_of(teacher, cattrs.structure(settings, JointStudentRecord), seed=0)
