"""The image encoders of OpenAI's CLIP (arXiv 2103.00020), by torch-fidelity's classes.

OpenAI publishes programs (TorchScript); their tensors are read and the programs left alone. Files of the same tensors
alone, safetensors or .pth, do as well. torch-fidelity's way with images stays: TensorFlow 1's resize to the network's
own size, without cropping.
"""

from collections.abc import Mapping
from functools import partial
from math import isqrt
from pathlib import Path

import attrs
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_clip import CLIPVisual, FeatureExtractorCLIP

from ardistill.errors import MisfitError
from ardistill.protocols import WeightsFinder
from ardistill.weights import Weights, children, deduced, read_weights
from ardistill_fidelity.finding import weights_path
from ardistill_fidelity.network import ByteNetwork, fill
from ardistill_fidelity.torchscript import is_torchscript, read_torchscript


@attrs.frozen
class Sizes:
    """Features, pixels a side, first width, blocks (of each stage), and the side of a patch, 0 without patches."""

    features: int
    pixels: int
    width: int
    blocks: tuple[int, ...]
    patch: int = 0

    def __str__(self) -> str:
        kind = f"patches of {self.patch}" if self.patch else "a ResNet"
        blocks = "-".join(map(str, self.blocks))
        return (
            f"{kind}, {blocks} blocks, width {self.width}, {self.pixels} pixels and {self.features} features"
        )


MODELS: Mapping[str, Sizes] = {
    "clip-rn50": Sizes(1024, 224, 64, (3, 4, 6, 3)),
    "clip-rn101": Sizes(512, 224, 64, (3, 4, 23, 3)),
    "clip-rn50x4": Sizes(640, 288, 80, (4, 6, 10, 6)),
    "clip-rn50x16": Sizes(768, 384, 96, (6, 8, 18, 8)),
    "clip-rn50x64": Sizes(1024, 448, 128, (3, 15, 36, 10)),
    "clip-vit-b-32": Sizes(512, 224, 768, (12,), 32),
    "clip-vit-b-16": Sizes(512, 224, 768, (12,), 16),
    "clip-vit-l-14": Sizes(768, 224, 1024, (24,), 14),
    "clip-vit-l-14-336px": Sizes(768, 336, 1024, (24,), 14),
}

_VISUAL = "visual."
_SHRINKS = 32  # pixels a side that a ResNet makes one of


def load_clip(name: str, weights: WeightsFinder) -> ByteNetwork:
    """The encoder of that name. Raises MisfitError where the file is another one's."""
    file = read_clip(weights_path(name, weights))
    sizes = sizes_of(file)
    if sizes != MODELS[name]:
        raise MisfitError(
            f"{file.where} holds a CLIP with {sizes}, and {name} has {MODELS[name]}; give the file of {name}"
        )
    return build(name, file, sizes)


rn50, rn101, rn50x4, rn50x16, rn50x64, vit_b_32, vit_b_16, vit_l_14, vit_l_14_336px = (
    partial(load_clip, name) for name in MODELS
)


def read_clip(path: Path) -> Weights:
    """The tensors of OpenAI's file, or of one that holds tensors alone; those of captions may be among them."""
    return read_torchscript(path, _VISUAL) if is_torchscript(path) else read_weights(path)


def sizes_of(file: Weights) -> Sizes:
    """The sizes that the shapes tell. Raises WeightsError where there is no such encoder."""
    return deduced(_sizes, file, "an image encoder of OpenAI's CLIP")


def build(name: str, file: Weights, sizes: Sizes) -> ByteNetwork:
    """The network of the file, of whatever size, under the given name.

    Numbers in float32 stay what they are; torch-fidelity would round some of them to float16, which OpenAI's are.
    """
    with torch.device("meta"):
        model = CLIPVisual(
            sizes.features,
            sizes.pixels,
            sizes.blocks[0] if sizes.patch else sizes.blocks,
            sizes.width,
            sizes.patch or None,
        )
    kept = {key: value for key, value in file.tensors.items() if key.startswith(_VISUAL)}
    fill(model, attrs.evolve(file, tensors=kept), f"a CLIP with {sizes}")
    return ByteNetwork(name, sizes.features, _Extractor(name, model))


class _Extractor(FeatureExtractorCLIP):  # type: ignore[misc]  # torch-fidelity is untyped
    """torch-fidelity's class, which would run a program to get a network, around one made of tensors."""

    def __init__(self, name: str, model: CLIPVisual) -> None:
        FeatureExtractorBase.__init__(self, name, ["clip"])
        self.feature_extractor_internal_dtype = torch.float32
        self.model = model
        self.resolution = self.model.visual.input_resolution


def _sizes(tensors: Mapping[str, Tensor]) -> Sizes:
    if "visual.conv1.weight" in tensors and "visual.proj" in tensors:
        width, _, patch, _ = tensors["visual.conv1.weight"].shape
        side = isqrt(len(tensors["visual.positional_embedding"]) - 1)
        blocks = (children(tensors, "visual.transformer.resblocks."),)
        return Sizes(tensors["visual.proj"].shape[1], side * patch, width, blocks, patch)
    side = isqrt(len(tensors["visual.attnpool.positional_embedding"]) - 1)
    return Sizes(
        features=len(tensors["visual.attnpool.c_proj.weight"]),
        pixels=side * _SHRINKS,
        width=len(tensors["visual.layer1.0.conv1.weight"]),
        blocks=tuple(children(tensors, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)),
    )
