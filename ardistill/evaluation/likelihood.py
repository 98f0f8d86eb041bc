"""How likely the teacher finds what a student drew.

Shape legend: B batch, L tokens, V codes, C code width.
"""

import torch
from torch import Tensor

from ardistill.protocols import ARTeacher, Condition

FLOOR_NATS = 20.0


@torch.no_grad()
def negative_log_likelihood(
    teacher: ARTeacher, condition: Condition, tokens_BL: Tensor, floor: float = FLOOR_NATS
) -> Tensor:
    """(B,) nats per token of `tokens_BL` under the teacher, 0 and up; one pass of the teacher.

    The distribution is the one the teacher samples from, guided and filtered as `teacher.guidance` says. A
    token that top-k or top-p removed has probability 0; it, and any less likely than e^-floor, counts as
    `floor` nats, so that the mean stays finite and still tells how often a student leaves the teacher's
    support.
    """
    log_p_BLV = teacher.log_probs(condition, teacher.tokenizer.codebook[tokens_BL])
    log_p_BL = log_p_BLV.gather(-1, tokens_BL.unsqueeze(-1)).squeeze(-1)
    return -log_p_BL.clamp(min=-floor).mean(1)
