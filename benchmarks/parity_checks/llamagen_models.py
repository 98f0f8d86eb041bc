"""LlamaGen's transformer as a fixture's json describes it, and a teacher made of it."""

from collections.abc import Mapping
from typing import Any

import attrs
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_llamagen.transformer import GPT
from golden import fill

from ardistill.protocols import Guidance

Config = Mapping[str, Any]


def gpt_config(config: Config, keys: Config) -> GPTConfig:
    """Names as upstream's ModelArgs; what is not said is as released, but for the codebook's size, which keys tell."""
    names = {field.name for field in attrs.fields(GPTConfig)}
    said = {name: value for name, value in config.items() if name in names}
    return GPTConfig(**{"vocab_size": keys["output.weight"]["shape"][0]} | said)


def teacher_of(model: GPT, guidance: Guidance, cfg_interval: int = -1) -> LlamaGenTeacher:
    """The teacher with a tokenizer of the right sizes; nothing a transformer's fixture records depends on it."""
    config = LlamaGenTokenizerConfig(
        codebook_size=model.config.vocab_size,
        codebook_embed_dim=model.config.code_width,
        ch=32,
        ch_mult=(1,),
        z_channels=8,
        num_res_blocks=1,
        image_size=model.config.side,
    )
    tokenizer = LlamaGenTokenizer(config)
    fill(tokenizer, 0)
    return LlamaGenTeacher(model, tokenizer, guidance, cfg_interval)
