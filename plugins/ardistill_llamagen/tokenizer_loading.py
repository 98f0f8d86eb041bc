"""LlamaGen's tokenizer from a weights file: its sizes come from the file's own words, else from its shapes."""

from collections.abc import Mapping

import attrs
import torch
from ardistill_vqgan.contents import LLAMAGEN_TOKENIZER, check_kind
from torch import Tensor

from ardistill.protocols import WeightsFinder
from ardistill.weights import Weights, bundled_or, children, deduced, described, load_strict, read_weights
from ardistill_llamagen.settings import LlamaGenTokenizerSettings
from ardistill_llamagen.tokenizer import USED, LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig

WHAT = LLAMAGEN_TOKENIZER.name


def load_tokenizer(
    settings: LlamaGenTokenizerSettings,
    weights: WeightsFinder,
    *,
    side: int | None = None,
    word: str = "tokenizer.checkpoint",
) -> LlamaGenTokenizer:
    """The tokenizer that `tokenizer=llamagen` names, on the CPU, frozen.

    Its convolutions take images of any size. The size is `settings.image_size`, else what makes `side` tokens along
    one side, else the file's own, else 256 pixels. `word` is what a user writes to give the path.
    """
    path = bundled_or(settings.checkpoint, weights("llamagen/tokenizer"), WHAT, word)
    file = read_weights(path)
    config = described(file, LlamaGenTokenizerConfig, "llamagen-tokenizer")
    if config is None:
        check_kind(file, LLAMAGEN_TOKENIZER, word)
        config = deduced(tokenizer_config, file, WHAT)
    if settings.image_size is not None:
        config = attrs.evolve(config, image_size=settings.image_size)
    elif side is not None:
        config = attrs.evolve(config, image_size=side * config.backbone.downsample)
    with torch.device("meta"):
        tokenizer = LlamaGenTokenizer(config)
    load_strict(tokenizer, with_usage(file), WHAT)
    return tokenizer.eval().requires_grad_(False)


def with_usage(file: Weights) -> Weights:
    """The file with our window of recently used codes; theirs varies in length or is absent, and nothing reads it."""
    return attrs.evolve(file, tensors={**file.tensors, "quantize.codebook_used": torch.zeros(USED)})


def tokenizer_config(tensors: Mapping[str, Tensor]) -> LlamaGenTokenizerConfig:
    """The sizes of a bare state dict. Raises KeyError where it is none of LlamaGen's."""
    ch, in_channels = tensors["encoder.conv_in.weight"].shape[:2]
    levels = range(children(tensors, "encoder.conv_blocks."))
    outs = [tensors[f"encoder.conv_blocks.{level}.res.0.conv2.weight"].shape[0] for level in levels]
    codebook_size, codebook_embed_dim = tensors["quantize.embedding.weight"].shape
    return LlamaGenTokenizerConfig(
        codebook_size=codebook_size,
        codebook_embed_dim=codebook_embed_dim,
        z_channels=tensors["encoder.conv_out.weight"].shape[0],
        ch=ch,
        ch_mult=tuple(out // ch for out in outs),
        num_res_blocks=children(tensors, "encoder.conv_blocks.0.res."),
        in_channels=in_channels,
    )
