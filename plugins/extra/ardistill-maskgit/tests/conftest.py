"""Small teachers: random and lively, of a few thousand weights, on a tokenizer as small.

Hypothesis has no deadlines, since machines are busy.
"""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_maskgit.config import MaskGITConfig
from ardistill_maskgit.order import spread_order
from ardistill_maskgit.teacher import MaskGITTeacher
from ardistill_maskgit.transformer import initialised
from hypothesis import settings
from torch import nn

from ardistill.protocols import Guidance

settings.register_profile("maskgit", deadline=None)
settings.load_profile("maskgit")

SIDE, CODES, CODE_WIDTH, CLASSES = 3, 24, 4, 5

MakeTeacher = Callable[..., MaskGITTeacher]


def stirred(module: nn.Module, seed: int, std: float) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(std * torch.randn(parameter.shape, generator=generator))
    return module


def small_tokenizer(seed: int = 4) -> LlamaGenTokenizer:
    """Images of 6x6 pixels, a token for 2x2 of them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = LlamaGenTokenizer(
            LlamaGenTokenizerConfig(
                codebook_size=CODES,
                codebook_embed_dim=CODE_WIDTH,
                z_channels=6,
                ch=8,
                ch_mult=(1, 2),
                num_res_blocks=1,
                in_channels=1,
                image_size=2 * SIDE,
                groups=4,
            )
        )
    return tokenizer.eval().requires_grad_(False)


@cache
def small_teacher(steps: int = 4, scale: float = 0.0, top_k: int = 0, top_p: float = 0.0) -> MaskGITTeacher:
    tokenizer = small_tokenizer()
    config = MaskGITConfig(
        order=spread_order(SIDE),
        width=24,
        depth=2,
        heads=2,
        vocab=CODES,
        code_width=CODE_WIDTH,
        n_classes=CLASSES,
    )
    model = initialised(config, tokenizer.codebook, seed=1)
    stirred(model, seed=2, std=0.3)
    return MaskGITTeacher(model, tokenizer, steps, Guidance(scale, top_k=top_k, top_p=top_p))


@pytest.fixture(scope="session")
def make_teacher() -> MakeTeacher:
    return small_teacher


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., LlamaGenTokenizer]:
    return small_tokenizer
