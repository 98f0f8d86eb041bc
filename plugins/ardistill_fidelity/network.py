"""What the networks of this package share: how images come in, and in what portions.

Legend: B batch, F features, Z classes, H W pixels.
"""

from abc import abstractmethod

import attrs
import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from ardistill.errors import DataError
from ardistill.evaluation.extraction import to_uint8
from ardistill.weights import Weights, load_strict

CHUNK = 50
"""Images that a network sees at once: 50 of 299 x 299 take Inception 0.8 GB on the way."""


class ColourNetwork(nn.Module):
    """A frozen network of colour images, in float32 whatever autocast says (`ardistill.protocols.FeatureNetwork`)."""

    def __init__(self, name: str, n_features: int) -> None:
        super().__init__()
        self.name = name
        self.n_features = n_features

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1] of any size -> features (B, F) and logits (B, Z), in portions of `CHUNK`."""
        if images_B3HW.ndim != 4 or images_B3HW.shape[1] != 3:
            raise DataError(
                f"the feature network {self.name} sees colour images, (images, 3, height, width), and was given "
                f"{tuple(images_B3HW.shape)}; repeat a grey channel three times, or choose another network"
            )
        with torch.autocast(images_B3HW.device.type, enabled=False):
            parts = [self.layers(part_B3HW) for part_B3HW in torch.split(images_B3HW.float(), CHUNK)]
        features_BF, logits_BZ = (torch.cat(layer) for layer in zip(*parts, strict=True))
        return features_BF, logits_BZ

    @abstractmethod
    def layers(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 images in [-1, 1] -> features (B, F) and logits (B, Z), float32."""


class ByteNetwork(ColourNetwork):
    """One of torch-fidelity's extractors: it takes bytes, and resizes them itself.

    Of the extractor's layers the first are the features; a second are logits, and without one there are no classes.
    """

    def __init__(self, name: str, n_features: int, extractor: FeatureExtractorBase) -> None:
        super().__init__(name, n_features)
        self.extractor = extractor
        self.eval().requires_grad_(False)

    def layers(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        features_BF, *logits = self.extractor(to_uint8(images_B3HW))
        return features_BF, logits[0] if logits else features_BF.new_empty(len(features_BF), 0)


def fill(module: nn.Module, file: Weights, what: str, hint: str = "") -> None:
    """Loads `module`, which lies on the meta device, strictly but for what batch norms count.

    Published files lack these counters, and frozen networks have no use for them.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.num_batches_tracked = None
    kept = {key: value for key, value in file.tensors.items() if not key.endswith(".num_batches_tracked")}
    load_strict(module, attrs.evolve(file, tensors=kept), what, hint=hint)
