"""taming's VQGAN from a weights file; its sizes come from the tensors' shapes."""

from collections.abc import Mapping

from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.protocols import WeightsFinder
from ardistill.weights import load_strict, read_weights
from ardistill_vqgan.config import TamingConfig, TamingSettings
from ardistill_vqgan.taming import TamingVQGAN


def load_taming(settings: TamingSettings, weights: WeightsFinder) -> TamingVQGAN:
    """The tokenizer that `tokenizer=vqgan` names, on the CPU."""
    path = settings.checkpoint or weights("vqgan/tokenizer")
    if path is None:
        raise WeightsError("this data brings no weights for a VQGAN; give tokenizer.checkpoint=PATH")
    file = read_weights(path)
    try:
        config = taming_config(file.tensors, settings.resolution)
    except (KeyError, ZeroDivisionError) as error:
        keys = ", ".join(sorted(file.tensors)[:3])
        raise WeightsError(f"{path} does not hold taming's VQGAN (its keys are like {keys})") from error
    tokenizer = TamingVQGAN(config)
    load_strict(tokenizer, file, "taming's VQGAN")
    return tokenizer.eval().requires_grad_(False)


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})


def taming_config(tensors: Mapping[str, Tensor], resolution: int) -> TamingConfig:
    """The sizes of a bare state dict. Raises KeyError where it is none of taming's."""
    ch, in_channels = tensors["encoder.conv_in.weight"].shape[:2]
    levels = range(_count(tensors, "encoder.down."))
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
        num_res_blocks=_count(tensors, "encoder.down.0.block."),
        in_channels=in_channels,
        z_channels=tensors["encoder.conv_out.weight"].shape[0],
    )
