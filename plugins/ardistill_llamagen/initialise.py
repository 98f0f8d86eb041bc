"""Initial weights of LlamaGen, from a seed.

Source: LlamaGen autoregressive/models/gpt.py:initialize_weights, CaptionEmbedder.
"""

import math

import torch
from torch import Tensor, nn

from ardistill_llamagen.blocks import RMSNorm
from ardistill_llamagen.conditions import CaptionEmbedder
from ardistill_llamagen.transformer import GPT


@torch.no_grad()
def initialise(model: GPT, *, seed: int, std: float = 0.02) -> None:
    """Draws all weights afresh from the seed: normal with deviation `std`, norms 1.

    The output matrix is zero, so that all tokens begin as likely. The null caption is normal with deviation 1/sqrt(E).
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, deviation: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * deviation)

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            normal(module.weight, std)
        elif isinstance(module, RMSNorm):
            module.weight.fill_(1.0)
        elif isinstance(module, CaptionEmbedder):
            normal(module.uncond_embedding, 1 / math.sqrt(model.config.caption_dim))
    model.output.weight.zero_()
