"""From the network to the distributions that the teacher samples.

Legend: B batch, L tokens, N any leading shape, V codes.
"""

from collections.abc import Callable

import torch
from ardistill_llamagen.filters import filtered_log_probs
from torch import Tensor

from ardistill.protocols import Guidance


def guided(
    logits: Callable[[Tensor, Tensor], Tensor],
    latents_BLC: Tensor,
    labels_B: Tensor,
    null: int,
    guidance: Guidance,
) -> Tensor:
    """Log-probabilities (B, L, V) float32 of `logits(latents, labels)`: guidance, temperature, top-k, top-p, softmax.

    cond + scale (cond - null), as Besnier et al. (arXiv 2503.17076) guide; no null pass is made where the scale is 0.
    """
    if not guidance.scale:
        return filtered_log_probs(logits(latents_BLC, labels_B), guidance)
    both_B = torch.cat([labels_B, torch.full_like(labels_B, null)])
    cond_BLV, null_BLV = logits(torch.cat([latents_BLC, latents_BLC]), both_B).chunk(2)
    return filtered_log_probs(cond_BLV + guidance.scale * (cond_BLV - null_BLV), guidance)
