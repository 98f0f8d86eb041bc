"""The guidance network: what the student's own tokens are distributed like, told as a correction of the teacher.

Shape legend: B batch, L tokens, V codes, C code width, D trunk width.
"""

from typing import cast

import torch
from torch import Tensor, nn

from ardistill.protocols import ARTeacher, Condition, Trunk

_LEAST = -20.0
"""What the teacher has filtered out may still be the student's token, at no less than this log-probability."""


class Guidance(nn.Module):
    """log p(token | earlier tokens) = log softmax(teacher's + a linear of the trunk's feature), which starts at zero.

    So it is the teacher before its first update, and no time goes into making it so.
    """

    def __init__(self, teacher: ARTeacher) -> None:
        super().__init__()
        self.trunk = teacher.trunk()
        codes_VC = teacher.tokenizer.codebook
        self.correction = nn.Linear(cast(Trunk, self.trunk).width, len(codes_VC), device=codes_VC.device)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, teacher_BLV: Tensor, prefix_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, V) float32 from the teacher's log-probabilities; a position reads the codes of earlier steps."""
        features_BLD = self.trunk(prefix_BLC, condition)
        logits_BLV = teacher_BLV.clamp_min(_LEAST) + self.correction(features_BLD).float()
        return torch.log_softmax(logits_BLV, dim=-1)
