"""The student: one pass predicts every token's distribution, and the flow draws the tokens from the noise.

Shape legend: B batch, L tokens, V codes, C code width.
"""

from collections.abc import Mapping
from typing import Any, cast

import cattrs
import torch
from ardistill_dd1.config import FlowSettings
from torch import Tensor, nn

from ardistill.flow import ode_map
from ardistill.protocols import ARTeacher, Condition, Jump, Jumper, Jumps, Prediction, Schedule


class FlowStudent(nn.Module):
    """A `Student`: a network of the teacher's architecture that reads noise, and the flow behind its logits.

    The network says how token i is distributed given what the earlier noise means; the probability flow carries the
    token's own noise to a code under that distribution (DD1, section 3.1). So a token has its distribution's
    diversity, where the largest logit would have its mode, and it is still a function of the noise.
    """

    jumps = (Jump(0),)
    schedules: Mapping[str, Schedule] = {}
    codes_VC: Tensor

    def __init__(self, network: nn.Module, codes_VC: Tensor, flow: FlowSettings) -> None:
        super().__init__()
        self.network, self.flow = network, flow
        self.register_buffer("codes_VC", codes_VC, persistent=False)

    def log_probs(self, noise_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, V), differentiable: how each token is distributed."""
        logits_BLV = cast(Jumper, self.network)(noise_BLC, condition).logits_BLV
        assert logits_BLV is not None
        return logits_BLV.log_softmax(-1)

    @torch.no_grad()
    def tokens(self, noise_BLC: Tensor, log_p_BLV: Tensor) -> Tensor:
        """(B, L) int64: what the noise means under these distributions."""
        flow = self.flow
        return ode_map(noise_BLC, log_p_BLV, self.codes_VC, evaluations=flow.evaluations, solver=flow.solver)

    def forward(self, noise_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L) int64: the tokens of the noise."""
        return self.tokens(noise_BLC, self.log_probs(noise_BLC, condition))

    @torch.no_grad()
    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        if start != 0:
            raise ValueError(f"this student starts from noise, not from step {start}")
        return Prediction(self.codes_VC[self(latents_BLC, condition)])


def network_of(teacher: ARTeacher, seed: int) -> nn.Module:
    """DD1's network on the teacher's weights, of one jump."""
    return teacher.jumper(Jumps(starts=(0,), split=teacher.layout.n_steps), seed)


def rebuild(settings: Mapping[str, Any], teacher: ARTeacher) -> FlowStudent:
    """A student of the given settings, ready for its weights."""
    flow = cattrs.structure(settings, FlowSettings)
    return FlowStudent(network_of(teacher, seed=0), teacher.tokenizer.codebook, flow)
