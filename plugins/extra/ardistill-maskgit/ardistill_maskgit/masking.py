"""Which tokens are masked in training.

Legend: B batch, L tokens.
"""

import math

import torch
from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import StepLayout


def known_tokens(draw: Draw, layout: StepLayout, random: float) -> Tensor:
    """(B, L) bool, at least one False a row.

    For the share `random` of images MaskGIT's own masks: the share cos(pi r / 2) of all tokens for r uniform in
    [0, 1), rounded up, wherever they lie (arXiv 2202.04200, sections 3.1 and 3.3). For the others what is known in the
    step that unmasks a token drawn uniformly: all masks that decoding meets, each as often as tokens hang on it.
    """
    n_tokens, device = layout.n_tokens, draw.indices().device
    masked_B = torch.ceil(n_tokens * torch.cos(draw.uniform("rate") * (math.pi / 2))).clamp(1, n_tokens)
    rank_BL = draw.uniform("where", n_tokens).argsort(dim=1).argsort(dim=1)
    random_BL = rank_BL >= masked_B.unsqueeze(1)
    steps_L = layout.step_of_token().to(device)
    met_BL = steps_L < steps_L[draw.integers("token", n_tokens)].unsqueeze(1)
    return torch.where(draw.uniform("random").unsqueeze(1) < random, random_BL, met_BL)
