"""Guidance and the filters of LlamaGen's sampler.

Legend: B batch, L tokens, V codes.
Source: LlamaGen autoregressive/models/generate.py:sample, top_k_top_p_filtering, decode_n_tokens.
"""

import torch
from torch import Tensor

from ardistill.protocols import Guidance
from ardistill.sampling import top_k


def guided_tokens(guidance: Guidance, cfg_interval: int, n_tokens: int) -> int:
    """How many tokens, from the first, are drawn with guidance.

    A scale of 1 or less guides none. With an interval k > -1 the first k+2 are: upstream counts from 0 after the token
    that comes from the condition alone, and counts k itself in.
    """
    if guidance.scale <= 1:
        return 0
    return n_tokens if cfg_interval < 0 else min(n_tokens, cfg_interval + 2)


def guide(cond_BLV: Tensor, null_BLV: Tensor, scale: float) -> Tensor:
    """Null + scale (cond - null)."""
    return null_BLV + scale * (cond_BLV - null_BLV)


def filtered_log_probs(logits_BLV: Tensor, guidance: Guidance) -> Tensor:
    """Temperature, then top-k, then top-p, then log-softmax: float32, -inf where removed."""
    logits_BLV = logits_BLV.float() / max(guidance.temperature, 1e-5)
    if guidance.top_k:
        logits_BLV = top_k(logits_BLV, guidance.top_k)
    if 0 < guidance.top_p < 1:
        logits_BLV = top_p(logits_BLV, guidance.top_p)
    return logits_BLV.log_softmax(dim=-1)


def top_p(logits_BLV: Tensor, p: float) -> Tensor:
    """Keeps the likeliest until their probabilities add up to more than p, with the one that crosses it."""
    sorted_BLV, order_BLV = logits_BLV.sort(dim=-1, descending=True)
    probs_BLV = sorted_BLV.softmax(dim=-1)
    before_BLV = torch.cat([torch.zeros_like(probs_BLV[..., :1]), probs_BLV.cumsum(dim=-1)[..., :-1]], dim=-1)
    remove_BLV = before_BLV > p
    return logits_BLV.masked_fill(remove_BLV.scatter(-1, order_BLV, remove_BLV), -torch.inf)
