"""taming's VQGAN from a weights file; its sizes come from the tensors' shapes."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from ardistill.protocols import WeightsFinder
from ardistill.weights import bundled_or, children, deduced, load_strict, read_weights
from ardistill_vqgan.config import TamingConfig, TamingSettings
from ardistill_vqgan.taming import TamingVQGAN


def load_taming(settings: TamingSettings, weights: WeightsFinder) -> TamingVQGAN:
    """The tokenizer that `tokenizer=vqgan` names, on the CPU."""
    path = bundled_or(settings.checkpoint, weights("vqgan/tokenizer"), "a VQGAN", "tokenizer.checkpoint")
    file = read_weights(path)
    config = deduced(partial(taming_config, resolution=settings.resolution), file, "taming's VQGAN")
    tokenizer = TamingVQGAN(config)
    load_strict(tokenizer, file, "taming's VQGAN")
    return tokenizer.eval().requires_grad_(False)


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
