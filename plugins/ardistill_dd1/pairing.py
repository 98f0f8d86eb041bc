"""Noise to tokens by the teacher and the flow (DD1, section 3.1): each step's noise is carried to its token.

Shape legend: B batch, L tokens, l tokens of one step, V codes, C code width.
"""

import torch
from torch import Tensor

from ardistill.flow import ode_map
from ardistill.protocols import ARTeacher, Condition, Draw
from ardistill_dd1.config import FlowSettings


@torch.no_grad()
def flow_matching(
    settings: FlowSettings, teacher: ARTeacher, condition: Condition, noise_BLC: Tensor, draw: Draw
) -> Tensor:
    """(B, L) int64: the tokens that belong to the noise. No further randomness enters.

    With p the teacher's guided and filtered distribution of a token given those already produced, the token is the one
    that the probability flow to sum_j p_j delta(c_j) carries the token's noise to. So tokens are distributed as the
    teacher's, and are a function of the noise.
    """
    del draw
    codes_VC = teacher.tokenizer.codebook
    guidance = teacher.guidance
    restricted = guidance.top_k > 0 or 0 < guidance.top_p < 1
    cursor, steps = teacher.start(condition), []
    for step in range(teacher.layout.n_steps):
        noise_BlC = noise_BLC[:, teacher.layout.span(step)]
        tokens_Bl = ode_map(
            noise_BlC,
            cursor.log_probs(),
            codes_VC,
            evaluations=settings.evaluations,
            solver=settings.solver,
            restricted=restricted,
            compiled=settings.compiled,
        )
        cursor.accept(tokens_Bl)
        steps.append(tokens_Bl)
    return torch.cat(steps, dim=1)
