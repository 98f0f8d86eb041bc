"""Guidance and the filters of VAR's sampler.

Legend: B batch, L tokens, V codes, s scale of S.
Sources: VAR models/var.py:autoregressive_infer_cfg, models/helpers.py:sample_with_top_k_top_p_.
"""

import torch
from torch import Tensor

from ardistill.protocols import Guidance
from ardistill.sampling import top_k


def guidance_ramp(scale: float, n_scales: int) -> tuple[float, ...]:
    """The guidance t of each scale, rising linearly from 0 at the first to `scale` at the last."""
    return tuple(scale * s / max(1, n_scales - 1) for s in range(n_scales))


def guide(cond_BLV: Tensor, null_BLV: Tensor, t: float | Tensor) -> Tensor:
    """(1 + t) cond - t null; t is a number or one per token, (L, 1)."""
    return cond_BLV + t * (cond_BLV - null_BLV)


def filtered_log_probs(logits_BLV: Tensor, guidance: Guidance) -> Tensor:
    """Temperature, then top-k, then top-p, then log-softmax: float32, -inf where removed."""
    logits_BLV = logits_BLV.float()
    if guidance.temperature != 1:
        logits_BLV = logits_BLV / guidance.temperature
    if guidance.top_k:
        logits_BLV = top_k(logits_BLV, guidance.top_k)
    if 0 < guidance.top_p < 1:
        logits_BLV = top_p(logits_BLV, guidance.top_p)
    return logits_BLV.log_softmax(dim=-1)


def top_p(logits_BLV: Tensor, p: float) -> Tensor:
    """Removes the least likely entries whose probabilities add up to at most 1 - p, never the likeliest."""
    sorted_BLV, order_BLV = logits_BLV.sort(dim=-1)
    remove_BLV = sorted_BLV.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    remove_BLV[..., -1] = False
    return logits_BLV.masked_fill(remove_BLV.scatter(-1, order_BLV, remove_BLV), -torch.inf)
