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


def cross_entropy(logits_BLV: Tensor, tokens_BL: Tensor, weights_BL: Tensor, image_weight: Tensor) -> Tensor:
    """Nats a token, a weighted mean; tokens that are data already weigh nothing.

    `image_weight` (0-d) is what an image's tokens weigh together, the mean over the update whose share this may be.
    """
    nats_BL = F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL.flatten(), reduction="none").view_as(
        tokens_BL
    )
    return (nats_BL * weights_BL).sum() / (len(tokens_BL) * image_weight)


def compared(indices_B: Tensor, first: Tensor, n: int, share: float) -> Tensor:
    """(B,) bool: which images are compared, about `share` of an update's `n` and at least one, spread evenly.

    `first` (0-d) is the update's first index. Evenly, so that processes and micro-batches have as many to decode.
    """
    count = max(1, round(share * n))
    place_B = indices_B - first
    return (place_B + 1) * count // n > place_B * count // n
