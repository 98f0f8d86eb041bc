"""The tiny models of the parity fixtures, filled by their rule, and smaller teachers for properties."""

from typing import Any

import torch
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_llamagen.transformer import GPT
from torch import Tensor

from ardistill.protocols import Condition, Guidance
from tests.golden import Fixture, fill


def tiny_tokenizer(n_codes: int, side: int, code_width: int = 8) -> LlamaGenTokenizer:
    """One that fits a teacher, with images of 2 pixels a token."""
    tokenizer = LlamaGenTokenizer(
        LlamaGenTokenizerConfig(
            codebook_size=n_codes,
            codebook_embed_dim=code_width,
            z_channels=6,
            ch=32,
            ch_mult=(1, 2),
            num_res_blocks=1,
            in_channels=1,
            image_size=2 * side,
        )
    )
    fill(tokenizer, 4)
    return tokenizer


def golden_config(told: dict[str, Any]) -> GPTConfig:
    """The fixture's own words, without those about dropout, which there is none of here, and about its calls."""
    others = {
        "attn_dropout_p",
        "resid_dropout_p",
        "token_dropout_p",
        "ffn_dropout_p",
        "cfg",
        "cfg_interval",
        "valid",
    }
    return GPTConfig(**{word: value for word, value in told.items() if word not in others})


def golden_model(golden: Fixture) -> GPT:
    model = GPT(golden_config(golden.config))
    golden.fill(model)
    return model.eval()


def golden_teacher(golden: Fixture, guidance: Guidance, cfg_interval: int = -1) -> LlamaGenTeacher:
    model = golden_model(golden)
    tokenizer = tiny_tokenizer(model.config.vocab_size, model.config.side)
    return LlamaGenTeacher(model, tokenizer, guidance, cfg_interval)


def small_config(*, text: bool = False, side: int = 3) -> GPTConfig:
    return GPTConfig(
        dim=32,
        n_layer=2,
        n_head=2,
        vocab_size=24,
        block_size=side * side,
        cls_token_num=4 if text else 1,
        num_classes=0 if text else 5,
        model_type="t2i" if text else "c2i",
        caption_dim=6,
        multiple_of=16,
    )


def small_teacher(
    guidance: Guidance | None = None, cfg_interval: int = -1, *, text: bool = False, side: int = 3
) -> LlamaGenTeacher:
    """A teacher of a few thousand weights, lively and random; captions of 4 positions and 6 features."""
    model = GPT(small_config(text=text, side=side))
    fill(model, 5)
    return LlamaGenTeacher(model, tiny_tokenizer(24, side), guidance, cfg_interval)


def classes() -> Condition:
    return Condition(torch.tensor([0, 4, 2]))


def captions() -> Condition:
    """Three captions for `small_teacher`: of two words, of four, of one; padding on the left, its features 0."""
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]).bool()
    features = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(12))
    return Condition(features_BTE=features * mask.unsqueeze(-1), mask_BT=mask)


def condition_of(teacher: LlamaGenTeacher) -> Condition:
    return classes() if teacher.n_classes else captions()


def random_tokens(teacher: LlamaGenTeacher, batch: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        teacher.model.config.vocab_size, (batch, teacher.layout.n_tokens), generator=generator
    )
