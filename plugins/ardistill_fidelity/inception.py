"""Inception-v3 of 2015-12-05, by torch-fidelity's class, with the resize of two schools.

Legend: B batch, F features, Z classes, H W pixels.

`inception`: bytes, resized as TensorFlow 1 did; what ADM's evaluator and torch-fidelity report.
`inception-pytorch-fid`: the image in [0, 1], resized by torch; pytorch_fid/inception.py:InceptionV3 and
fid_score.py:get_activations.
Features are those of the last pooling in both, and logits the ones without bias, which IS is taken from.
"""

import io
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ardistill.protocols import WeightsFinder
from ardistill.weights import read_weights
from ardistill_fidelity.finding import weights_path
from ardistill_fidelity.network import ByteNetwork, ColourNetwork, fill

FEATURES, LOGITS = "2048", "logits_unbiased"
N_FEATURES = 2048


def load_inception(weights: WeightsFinder) -> ByteNetwork:
    """torch-fidelity's `inception-v3-compat` with the weights that `weights` finds as "features"."""
    return ByteNetwork("inception", N_FEATURES, _extractor(weights))


def load_pytorch_fid(weights: WeightsFinder) -> "PytorchFID":
    """The same weights, seen as pytorch-fid sees them."""
    return PytorchFID(_extractor(weights))


class PytorchFID(ColourNetwork):
    """The layers of torch-fidelity's Inception one after the other, behind pytorch-fid's preparation of images."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__("inception-pytorch-fid", N_FEATURES)
        layers = OrderedDict(extractor.named_children())
        self.fc: Any = layers.pop("fc")
        self.trunk = nn.Sequential(layers)
        self.eval().requires_grad_(False)

    def layers(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """The resize keeps fractions of a byte, and neither smooths nor aligns corners."""
        side = FeatureExtractorInceptionV3.INPUT_IMAGE_SIZE
        shares_B3HW = (images_B3HW + 1) / 2
        shares_B3HW = F.interpolate(shares_B3HW, size=(side, side), mode="bilinear", align_corners=False)
        features_BF: Tensor = self.trunk(2 * shares_B3HW - 1).flatten(1)
        return features_BF, features_BF @ self.fc.weight.T


class _Unfilled(FeatureExtractorInceptionV3):  # type: ignore[misc]  # torch-fidelity is untyped
    """torch-fidelity's class unpickles a file in order to be made; this one is made of an empty one."""

    def __init__(self) -> None:
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        super().__init__("inception-v3-compat", [FEATURES, LOGITS], feature_extractor_weights_path=empty)

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        strict: bool = True,
        assign: bool = False,
    ) -> Any:
        return super().load_state_dict(state_dict, strict and bool(state_dict), assign)


def _extractor(weights: WeightsFinder) -> FeatureExtractorInceptionV3:
    file = read_weights(weights_path("inception", weights))
    with torch.device("meta"):  # made by loading, so that no random numbers are drawn
        extractor = _Unfilled()
    fill(
        nn.ModuleDict(OrderedDict(extractor.named_children())),
        file,
        "the Inception-v3 of FID",
        "; give torch-fidelity's weights-inception-2015-12-05-6726825d.pth or pytorch-fid's",
    )
    return extractor
