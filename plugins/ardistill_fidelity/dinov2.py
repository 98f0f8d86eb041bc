"""DINOv2 (arXiv 2304.07193) from Meta's files, dinov2_vits14_pretrain.pth and its siblings, fed as torch-fidelity does.

Legend: L tokens (the class token first, then patches), D width.

torch-fidelity's own class fetches a program by torch.hub and runs it; here only its preparation of images is taken
(TensorFlow 1's resize to 224 pixels, ImageNet's mean and deviation), and the network is ours.
"""

from collections.abc import Mapping
from functools import partial
from math import isqrt

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from ardistill.errors import MisfitError
from ardistill.protocols import WeightsFinder
from ardistill.weights import Weights, children, deduced, load_strict, read_weights
from ardistill_fidelity.finding import weights_path
from ardistill_fidelity.network import ByteNetwork
from ardistill_fidelity.vision_transformer import VisionTransformer, ViTConfig

SIZES: Mapping[str, tuple[int, int]] = {
    "dinov2-vit-s-14": (384, 12),
    "dinov2-vit-b-14": (768, 12),
    "dinov2-vit-l-14": (1024, 24),
    "dinov2-vit-g-14": (1536, 40),
}
"""Width and depth."""

_OFFSET = 0.1
"""Meta stretches positions a little too far, against rounding, and so must we."""


def load_dinov2(name: str, weights: WeightsFinder) -> ByteNetwork:
    """The network of that name. Raises MisfitError where the file is another size's."""
    file = read_weights(weights_path(name, weights))
    config = config_of(file)
    if (config.width, config.depth) != SIZES[name]:
        width, depth = SIZES[name]
        raise MisfitError(
            f"{file.where} holds a DINOv2 of width {config.width} and depth {config.depth}, and {name} has {width} and "
            f"{depth}; give the file of {name}"
        )
    return build(name, file, config)


vit_s_14, vit_b_14, vit_l_14, vit_g_14 = (partial(load_dinov2, name) for name in SIZES)


def config_of(file: Weights) -> ViTConfig:
    """The sizes that the shapes tell. Raises WeightsError where it is no DINOv2."""
    return deduced(_sizes, file, "a DINOv2 network")


def build(name: str, file: Weights, config: ViTConfig) -> ByteNetwork:
    """The network of the file, of whatever size, under the given name."""
    with torch.device("meta"):
        model = VisionTransformer(config)
    positions_1LD = resized(file.tensors["pos_embed"], isqrt(config.n_patches))
    kept = {**file.tensors, "pos_embed": positions_1LD}
    kept.pop("mask_token", None)  # of the training
    load_strict(model, attrs.evolve(file, tensors=kept), f"a DINOv2 of width {config.width}")
    return ByteNetwork(name, config.width, _Extractor(name, model))


class _Extractor(FeatureExtractorDinoV2):  # type: ignore[misc]  # torch-fidelity is untyped
    """torch-fidelity's preparation of images, around a network it did not fetch."""

    def __init__(self, name: str, model: nn.Module) -> None:
        FeatureExtractorBase.__init__(self, name, ["dinov2"])
        self.feature_extractor_internal_dtype = torch.float32
        self.model = model


def _sizes(tensors: Mapping[str, Tensor]) -> ViTConfig:
    width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
    swiglu = "blocks.0.mlp.w3.weight" in tensors
    out = tensors["blocks.0.mlp.w3.weight" if swiglu else "blocks.0.mlp.fc2.weight"]
    n_positions = tensors["pos_embed"].shape[1] - 1
    if isqrt(n_positions) ** 2 != n_positions:
        raise ValueError("the positions make no square")
    return ViTConfig(
        width=width,
        depth=children(tensors, "blocks."),
        patch=patch,
        hidden=out.shape[1],
        swiglu=swiglu,
        n_patches=(FeatureExtractorDinoV2.INPUT_IMAGE_SIZE // patch) ** 2,
    )


def resized(positions_1LD: Tensor, side: int) -> Tensor:
    """Positions for a square of `side` patches, as vision_transformer.py:interpolate_pos_encoding stretches them."""
    first_11D, square_1LD = positions_1LD[:, :1].float(), positions_1LD[:, 1:].float()
    before = isqrt(square_1LD.shape[1])
    if before == side:
        return positions_1LD
    square_1Dhw = square_1LD.transpose(1, 2).reshape(1, -1, before, before)
    square_1Dhw = F.interpolate(square_1Dhw, scale_factor=(side + _OFFSET) / before, mode="bicubic")
    return torch.cat([first_11D, square_1Dhw.flatten(2).transpose(1, 2)], dim=1)
