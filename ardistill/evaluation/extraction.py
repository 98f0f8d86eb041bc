"""Images -> what a feature network sees in them, as torch-fidelity hands images over: as bytes, but from memory.

Shape legend: B batch, N images, F features, Z classes, H W pixels.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain
from typing import Self

import attrs
import torch
from torch import Tensor, nn
from torch_fidelity import registry
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.utils import create_feature_extractor

from ardistill.errors import DataError
from ardistill.evaluation.statistics import Moments, Statistics
from ardistill.protocols import FeatureNetwork
from ardistill.trajectories.digest import contents_digest

LAYERS = ("features", "logits")
_ROWS = 4096
"""Of the features that are gone through at once: each step takes copies of them."""


def to_uint8(images_BCHW: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, (x + 1) * 127.5 rounded: the one place where images become bytes."""
    bad = int((~images_BCHW.isfinite()).flatten(1).any(1).sum())
    if bad:  # a byte cannot hold NaN: it would pass for a black pixel
        raise DataError(
            f"{bad} in {len(images_BCHW)} images hold nan or infinity; look at what generated them"
        )
    return ((images_BCHW.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def extractor_name(network: FeatureNetwork) -> str:
    """What the network is called in torch-fidelity's registry, apart from that library's own extractors."""
    return f"ardistill-{network.name}"


def register(network: FeatureNetwork) -> str:
    """Enters the network in torch-fidelity's registry, for `calculate_metrics(feature_extractor=...)` too.

    Returns the name it goes by; a network registered under that name earlier gives way.
    """

    class Extractor(FeatureExtractorBase):  # type: ignore[misc]  # torch-fidelity is untyped
        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)
            self.network = network

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return LAYERS

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, bytes_BCHW: Tensor) -> tuple[Tensor, ...]:
            weight = next(chain(self.parameters(), self.buffers()), bytes_BCHW)
            images_BCHW = bytes_BCHW.to(weight.device).float() / 127.5 - 1
            layers = dict(zip(LAYERS, self.network(images_BCHW), strict=True))
            return tuple(layers[name] for name in self.features_list)

    name = extractor_name(network)
    registry.FEATURE_EXTRACTORS_REGISTRY.pop(name, None)
    registry.register_feature_extractor(name, Extractor)
    return name


@attrs.frozen(eq=False)
class Features:
    """What the network saw in a set of images. Made once, compared often: its statistics are kept."""

    features_NF: Tensor
    logits_NZ: Tensor

    def __attrs_post_init__(self) -> None:
        for kind, values in (("features", self.features_NF), ("logits", self.logits_NZ)):
            bad = sum(int((~part.isfinite()).any(1).sum()) for part in torch.split(values, _ROWS))
            if bad:
                raise DataError(
                    f"the feature network's {kind} of {bad} in {len(values)} images are not finite, so no "
                    "distance can be taken; look at the images or the network's weights"
                )

    def __len__(self) -> int:
        return len(self.features_NF)

    @classmethod
    def join(cls, parts: Iterable[Self], n: int) -> Self:
        """The features of n images, batch by batch; no second copy of them is made on the way."""
        features_NF, logits_NZ = torch.empty(n, 0), torch.empty(n, 0)
        done = 0
        for part in parts:
            if not done:
                features_NF = part.features_NF.new_empty(n, part.features_NF.shape[1])
                logits_NZ = part.logits_NZ.new_empty(n, part.logits_NZ.shape[1])
            features_NF[done : done + len(part)] = part.features_NF
            logits_NZ[done : done + len(part)] = part.logits_NZ
            done += len(part)
        assert done == n
        return cls(features_NF, logits_NZ)

    @cached_property
    def statistics(self) -> Statistics:
        moments = Moments()
        for part_BF in torch.split(self.features_NF, _ROWS):
            moments.add(part_BF)
        return moments.statistics()


def extractor(network: FeatureNetwork) -> Callable[[Tensor], Features]:
    """A function from a batch of images (B, channels, H, W) in [-1, 1] to its features, kept on the CPU."""
    made = create_feature_extractor(register(network), list(LAYERS), cuda=False, verbose=False)

    def extract(images_BCHW: Tensor) -> Features:
        with torch.no_grad():
            layers = made.convert_features_tuple_to_dict(made(to_uint8(images_BCHW)))
        return Features(layers["features"].cpu(), layers["logits"].cpu())

    return extract


def features_of(network: FeatureNetwork, images_NCHW: Tensor, batch: int = 500) -> Features:
    """The features of a set of images in memory."""
    return Features.join(map(extractor(network), torch.split(images_NCHW, batch)), len(images_NCHW))


def network_digest(network: FeatureNetwork) -> str:
    """A digest of the network's weights, or of its name where it has none."""
    if isinstance(network, nn.Module) and network.state_dict():
        return contents_digest(network, torch.empty(0))
    return hashlib.sha256(network.name.encode()).hexdigest()[:32]
