"""taming's VQGAN from a weights file; its sizes come from the tensors' shapes."""

import logging
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from ardistill.protocols import WeightsFinder
from ardistill.weights import bundled_or, children, deduced, load_strict, read_weights
from ardistill_vqgan.config import TamingConfig, TamingSettings
from ardistill_vqgan.contents import TAMING, check_kind
from ardistill_vqgan.taming import TamingVQGAN

_TRAINING_ONLY = "loss."  # the discriminator and LPIPS of Lightning's checkpoints


def load_taming(settings: TamingSettings, weights: WeightsFinder) -> TamingVQGAN:
    """The tokenizer that `tokenizer=vqgan` names, on the CPU. Keys of taming's training losses are left out."""
    path = bundled_or(settings.checkpoint, weights("vqgan/tokenizer"), "a VQGAN", TAMING.word)
    whole = read_weights(path)
    file = whole.without(_TRAINING_ONLY)
    if left_out := len(whole.tensors) - len(file.tensors):
        _mention(whole.path, left_out)
    check_kind(file, TAMING, TAMING.word)
    config = deduced(partial(taming_config, resolution=settings.resolution), file, TAMING.name)
    with torch.device("meta"):
        tokenizer = TamingVQGAN(config)
    load_strict(tokenizer, file, TAMING.name)
    return tokenizer.eval().requires_grad_(False)


@cache  # once per file
def _mention(path: Path, left_out: int) -> None:
    logging.getLogger("ardistill").warning(
        "%s: left out %d tensor%s named %s*, which only training needs",
        path,
        left_out,
        "" if left_out == 1 else "s",
        _TRAINING_ONLY,
    )


def taming_config(tensors: Mapping[str, Tensor], resolution: int) -> TamingConfig:
    """The sizes of a bare state dict. Raises KeyError where it is none of taming's."""
    ch, in_channels = tensors["encoder.conv_in.weight"].shape[:2]
    levels = range(children(tensors, "encoder.down."))
    outs = [tensors[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in levels]
    vocab, code_width = tensors["quantize.embedding.weight"].shape
    return TamingConfig(
        vocab=vocab,
        code_width=code_width,
        resolution=resolution,
        attn_resolutions=tuple(
            resolution // 2**level for level in levels if f"encoder.down.{level}.attn.0.q.weight" in tensors
        ),
        ch=ch,
        ch_mult=tuple(out // ch for out in outs),
        num_res_blocks=children(tensors, "encoder.down.0.block."),
        in_channels=in_channels,
        z_channels=tensors["encoder.conv_out.weight"].shape[0],
    )
