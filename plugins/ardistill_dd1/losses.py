"""DD1's losses for one batch of pairs (DD1, section 3.3).

Shape legend: B batch, L tokens, V codes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ardistill.protocols import StepLayout


def token_weights(layout: StepLayout, balance: float) -> Tensor:
    """(L,): what a token counts. `balance` 0 counts all tokens alike, 1 all steps, however many tokens they emit."""
    sizes_L = torch.tensor(layout.sizes, dtype=torch.float32)[layout.step_of_token()]
    return sizes_L**-balance


def cross_entropy(logits_BLV: Tensor, tokens_BL: Tensor, weights_BL: Tensor) -> Tensor:
    """Nats a token, a weighted mean; tokens that are data already weigh nothing."""
    nats_BL = F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL.flatten(), reduction="none").view_as(
        tokens_BL
    )
    return (nats_BL * weights_BL).sum() / weights_BL.sum()
