"""VAR's tokenizer from a weights file: its sizes come from the file's own words, else from its shapes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor

from ardistill.errors import ConfigError
from ardistill.protocols import WeightsFinder
from ardistill.weights import Weights, bundled_or, children, described, load_strict, read_weights
from ardistill_var.config import PATCH_NUMS_256, VARTokenizerConfig
from ardistill_var.contents import TOKENIZER, read_sizes
from ardistill_var.settings import VARTokenizerSettings
from ardistill_var.tokenizer import VARTokenizer

_HITS = "quantize.ema_vocab_hit_SV"


def load_tokenizer(
    settings: VARTokenizerSettings,
    weights: WeightsFinder,
    *,
    patch_nums: tuple[int, ...] | None = None,
    section: str = "tokenizer",
) -> VARTokenizer:
    """The tokenizer that `tokenizer=var` names, on the CPU, frozen.

    Its scales are `settings.v_patch_nums`, else the file's own, else `patch_nums`, else the ten released for 256x256
    pixels. `section` is where a user writes its words.
    """
    word = f"{section}.checkpoint"
    file = read_weights(bundled_or(settings.checkpoint, weights("var/tokenizer"), TOKENIZER, word))
    config = described(file, VARTokenizerConfig, "var-tokenizer")
    if config is None:
        read = partial(
            tokenizer_config, patch_nums=settings.v_patch_nums or patch_nums, word=f"{section}.v_patch_nums"
        )
        config = read_sizes(read, file, TOKENIZER, word)
    words: dict[str, Any] = {
        "patch_nums": settings.v_patch_nums,
        "using_znorm": settings.using_znorm,
        "quant_resi": settings.quant_resi,
        "beta": settings.beta,
    }
    config = attrs.evolve(config, **{name: value for name, value in words.items() if value is not None})
    with torch.device("meta"):
        tokenizer = VARTokenizer(config)
    load_strict(
        tokenizer, _with_hits_of(config, file), "this VAR tokenizer", derived=(_HITS.rpartition(".")[2],)
    )
    return tokenizer.eval().requires_grad_(False)


def _with_hits_of(config: VARTokenizerConfig, file: Weights) -> Weights:
    """The file without its statistics of code use where they are of other scales; nothing reads them."""
    hits_SV = file.tensors.get(_HITS)
    other_scales = (
        hits_SV is not None
        and hits_SV.shape[1:] == (config.vocab,)
        and len(hits_SV) != len(config.patch_nums)
    )
    return file.without(_HITS) if other_scales else file


def tokenizer_config(
    tensors: Mapping[str, Tensor], patch_nums: tuple[int, ...] | None, word: str
) -> VARTokenizerConfig:
    """The sizes of a bare state dict, which knows the number of its scales alone. Raises KeyError where it is none."""
    n_scales = len(tensors[_HITS]) if _HITS in tensors else 0
    if patch_nums is None and n_scales not in (0, len(PATCH_NUMS_256)):
        raise ConfigError(f"it has {n_scales} scales and does not say which; give {word}=1,2,3 and so on")
    ch, in_channels = tensors["encoder.conv_in.weight"].shape[:2]
    levels = children(tensors, "encoder.down.")
    outs = [tensors[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in range(levels)]
    if any(out % ch for out in outs):
        raise ConfigError(f"its encoder's widths {outs} are no multiples of the first, {ch}")
    vocab, z_channels = tensors["quantize.embedding.weight"].shape
    return VARTokenizerConfig(
        patch_nums=patch_nums or PATCH_NUMS_256,
        vocab=vocab,
        z_channels=z_channels,
        ch=ch,
        ch_mult=tuple(out // ch for out in outs),
        num_res_blocks=children(tensors, "encoder.down.0.block."),
        in_channels=in_channels,
        share_quant_resi=_shared(tensors),
    )


def _shared(tensors: Mapping[str, Tensor]) -> int:
    """Convolutions phi that the scales share; 0 where each has its own."""
    several = children(tensors, "quantize.quant_resi.qresi_ls.")
    return several or int("quantize.quant_resi.qresi.weight" in tensors)
