"""Distances between two sets of images, by torch-fidelity on the features of a registered `FeatureNetwork`.

Shape legend: B batch, N images, F features, Z classes, H W pixels.

Images reach the network as torch-fidelity hands them over, as bytes (see `to_uint8`), but from memory:
nothing is written or downloaded, and features are taken once, however many sets they are compared with.
Statistics and distances are float64. FID: Heusel et al., arXiv 1706.08500; IS: Salimans et al., 1606.03498;
precision and recall: Kynkaanniemi et al., 1904.06991, with 3 neighbours.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, Self

import attrs
import torch
from torch import Tensor
from torch_fidelity import registry
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric
from torch_fidelity.utils import create_feature_extractor

from ardistill.errors import DataError
from ardistill.protocols import FeatureNetwork

SPLITS, SHUFFLE_SEED = 10, 2020  # torch-fidelity's defaults for IS, stated so that they cannot drift
NEIGHBOURS = 3
DISTANCE_BYTES = 100_000_000  # of the distance matrix held at once

LAYERS = ("features", "logits")


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
            bad = int((~values.isfinite()).any(1).sum())
            if bad:
                raise DataError(
                    f"the feature network's {kind} of {bad} in {len(values)} images are not finite, so no "
                    "distance can be taken; look at the images or the network's weights"
                )

    def __len__(self) -> int:
        return len(self.features_NF)

    @classmethod
    def join(cls, parts: Iterable[Self]) -> Self:
        parts = list(parts)
        return cls(
            torch.cat([part.features_NF for part in parts]), torch.cat([part.logits_NZ for part in parts])
        )

    @cached_property
    def statistics(self) -> Mapping[str, Any]:
        """Mean (F,) and covariance (F, F), float64."""
        statistics: Mapping[str, Any] = fid_features_to_statistics(self.features_NF.double())
        return statistics


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
    return Features.join(map(extractor(network), torch.split(images_NCHW, batch)))


@attrs.frozen
class Fidelity:
    """FID (0 is best), inception score (1..classes), precision and recall (0..1) against a reference."""

    fid: float
    isc: float
    precision: float
    recall: float


def check_enough(n: int, n_features: int, what: str) -> None:
    """A covariance of F features has full rank, and every score is defined, from F + 1 images on."""
    least = max(n_features, SPLITS) + 1
    if n < least:
        raise DataError(
            f"{what} number {n}, and distances over {n_features} features need at least {least}; ask for more"
        )


def frechet(samples: Features, reference: Features) -> float:
    """The Frechet distance alone."""
    check_enough(len(samples), samples.features_NF.shape[1], "the samples")
    check_enough(len(reference), reference.features_NF.shape[1], "the reference images")
    metric = fid_statistics_to_metric(samples.statistics, reference.statistics, verbose=False)
    return max(0.0, float(metric[KEY_METRIC_FID]))  # rounding can leave -1e-13 between equal sets


def compare(samples: Features, reference: Features) -> Fidelity:
    """All four scores; precision is the share of samples among the reference, recall the reverse."""
    fid = frechet(samples, reference)
    isc = isc_features_to_metric(samples.logits_NZ, splits=SPLITS, shuffle=True, rng_seed=SHUFFLE_SEED)
    prc = prc_features_to_metric(
        samples.features_NF.double(),
        reference.features_NF.double(),
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=max(1, DISTANCE_BYTES // (8 * max(len(samples), len(reference)))),
        save_cpu_ram=True,
        verbose=False,
    )
    return Fidelity(fid, isc[KEY_METRIC_ISC_MEAN], prc[KEY_METRIC_PRECISION], prc[KEY_METRIC_RECALL])


def fidelity(network: FeatureNetwork, images_NCHW: Tensor, reference: Tensor | Features) -> Fidelity:
    """How close images in [-1, 1] are to the reference: images too or, to reuse them, their features."""
    if isinstance(reference, Tensor):
        reference = features_of(network, reference)
    return compare(features_of(network, images_NCHW), reference)
