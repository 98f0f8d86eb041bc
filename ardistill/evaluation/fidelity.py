"""Distances between two sets of images, by torch-fidelity on the features of a registered `FeatureNetwork`.

Shape legend: N images, M reference images, F features, Z classes.

Nothing is written or downloaded, and features are taken once, however many sets they are compared with. Statistics and
distances are float64. FID: Heusel et al., arXiv 1706.08500; IS: Salimans et al., 1606.03498; KID: Binkowski et al.,
1801.01401, with its cubic kernel; precision and recall: Kynkaanniemi et al., 1904.06991, with 3 neighbours.
"""

from collections.abc import Iterator
from statistics import fmean, pstdev
from typing import Protocol

import attrs
import numpy as np
import torch
from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_part

from ardistill.errors import DataError
from ardistill.evaluation.extraction import Features, features_of
from ardistill.evaluation.statistics import Statistics, frechet_between
from ardistill.protocols import FeatureNetwork

SPLITS, SHUFFLE_SEED = 10, 2020  # torch-fidelity's defaults for IS and KID, stated so that they cannot drift
NEIGHBOURS = 3
KID_SUBSETS, KID_SUBSET = 100, 1000
DISTANCE_BYTES = 32_000_000  # of the distance matrix; the search for neighbours takes some copies of it


class Measured(Protocol):
    """A set of images, as far as distances need it: `Features`, or a `Reference`."""

    @property
    def statistics(self) -> Statistics: ...

    @property
    def features_NF(self) -> Tensor | None:
        """None where only the statistics are known; then FID alone can be taken."""
        ...


@attrs.frozen
class Fidelity:
    """FID (0 is best), inception score (1..classes), KID with its spread over subsets, precision and recall (0..1).

    None: the network classifies nothing (IS), or only the statistics of the reference are known (the others).
    """

    fid: float
    isc: float | None = None
    kid: float | None = None
    kid_std: float | None = None
    precision: float | None = None
    recall: float | None = None


def check_enough(n: int, n_features: int, what: str) -> None:
    """A covariance of F features has full rank, and every score is defined, from F + 1 images on."""
    least = max(n_features, SPLITS) + 1
    if n < least:
        raise DataError(
            f"{what} number {n}, and distances over {n_features} features need at least {least}; ask for more"
        )


def frechet(samples: Measured, reference: Measured) -> float:
    """The Frechet distance alone."""
    for what, each in (("the samples", samples.statistics), ("the reference images", reference.statistics)):
        if each.n is not None:
            check_enough(each.n, len(each.mean_F), what)
    return frechet_between(samples.statistics, reference.statistics)


def compare(samples: Features, reference: Measured, kid_subsets: int = KID_SUBSETS) -> Fidelity:
    """All scores; precision is the share of samples among the reference, recall the reverse."""
    scores = Fidelity(frechet(samples, reference), _inception_score(samples.logits_NZ))
    if reference.features_NF is None:
        return scores
    ours_NF, theirs_MF = samples.features_NF, reference.features_NF
    kid, kid_std = _kernel_distance(ours_NF, theirs_MF, kid_subsets)
    precision, recall = calculate_precision_recall_part(
        _InFloat64(ours_NF),
        _InFloat64(theirs_MF),
        NEIGHBOURS,
        max(1, DISTANCE_BYTES // (8 * max(len(ours_NF), len(theirs_MF)))),
    )
    return attrs.evolve(scores, kid=kid, kid_std=kid_std, precision=precision, recall=recall)


@attrs.frozen(eq=False)
class _InFloat64:
    """Features as torch-fidelity goes through them, block by block: a copy of them all would not fit beside them."""

    features_NF: Tensor

    def split(self, rows: int) -> Iterator[Tensor]:
        return (part_nF.double() for part_nF in torch.split(self.features_NF, rows))


def _kernel_distance(ours_NF: Tensor, theirs_MF: Tensor, subsets: int) -> tuple[float, float | None]:
    """Mean and spread over random subsets, the ones torch-fidelity takes; one of all images where they are few."""
    size = min(KID_SUBSET, len(ours_NF), len(theirs_MF))
    if len(ours_NF) == len(theirs_MF) == size:
        subsets = 1
    choose = np.random.RandomState(SHUFFLE_SEED)
    found = []
    for _ in range(subsets):
        parts = (
            features_NF[torch.from_numpy(choose.choice(len(features_NF), size, replace=False))].double()
            for features_NF in (ours_NF, theirs_MF)
        )
        metric = kid_features_to_metric(*parts, kid_subsets=1, kid_subset_size=size, verbose=False)
        found.append(metric[KEY_METRIC_KID_MEAN])
    return fmean(found), pstdev(found) if subsets > 1 else None


def _inception_score(logits_NZ: Tensor) -> float | None:
    """torch-fidelity's, split by split: of all images at once it would hold four copies of their probabilities."""
    if not logits_NZ.shape[1]:
        return None
    n = len(logits_NZ)
    order_N = torch.from_numpy(np.random.RandomState(SHUFFLE_SEED).permutation(n))
    scores = []
    for split in range(SPLITS):
        part_n = order_N[split * n // SPLITS : (split + 1) * n // SPLITS]
        found = isc_features_to_metric(logits_NZ[part_n], splits=1, shuffle=False, rng_seed=SHUFFLE_SEED)
        scores.append(found[KEY_METRIC_ISC_MEAN])
    return fmean(scores)


def fidelity(network: FeatureNetwork, images_NCHW: Tensor, reference: Tensor | Measured) -> Fidelity:
    """How close images in [-1, 1] are to the reference: images too or, to reuse them, their features."""
    if isinstance(reference, Tensor):
        reference = features_of(network, reference)
    return compare(features_of(network, images_NCHW), reference)
