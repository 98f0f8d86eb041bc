"""Mean and covariance of features: gathered batch by batch, and compared by the Frechet distance.

Shape legend: B batch, F features. Everything here is float64 on the CPU.
"""

import math

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from ardistill.errors import DataError

ASYMMETRY = 1e-6
"""Of the covariance, as a share of its largest number: more than the rounding of float32 leaves."""
NEGATIVITY = 1e-6
"""Of an eigenvalue below zero, as a share of the largest: likewise."""


def _double(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64)


def check_finite(features_BF: Tensor) -> None:
    """Raises DataError where the features of some images are nan or infinite."""
    if bad := int((~features_BF.isfinite()).any(1).sum()):
        raise DataError(
            f"the features of {bad} in {len(features_BF)} images are not finite, so no distance can be taken; "
            "look at the images or the network's weights"
        )


@frozen(eq=False)
class Statistics:
    """What the Frechet distance knows of a set of images: the features' mean (F,) and covariance (F, F).

    `n` is the number of images, where it is known. The covariance divides by n - 1. Raises DataError for what can be
    no statistics.
    """

    mean_F: Tensor = field(converter=_double)
    covariance_FF: Tensor = field(converter=_double)
    n: int | None = None

    def __attrs_post_init__(self) -> None:
        mean, covariance = self.mean_F, self.covariance_FF
        if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
            raise DataError(
                f"a mean of shape {tuple(mean.shape)} and a covariance of shape {tuple(covariance.shape)} do not "
                "belong together; expected (F,) and (F, F)"
            )
        for what, values in (("mean", mean), ("covariance", covariance)):
            if bad := int((~values.isfinite()).sum()):
                raise DataError(
                    f"{bad} of the {values.numel()} numbers of the {what} are nan or infinite; "
                    "make the statistics again"
                )
        if float((covariance - covariance.T).abs().max()) > ASYMMETRY * float(covariance.abs().max()):
            raise DataError("the covariance is not symmetric; make the statistics again")
        if float(covariance.diagonal().min()) < 0:
            raise DataError("the covariance has a negative variance; make the statistics again")

    @property
    def n_features(self) -> int:
        return len(self.mean_F)

    def check_semidefinite(self) -> None:
        """Raises DataError for what no features can have as their covariance: for statistics made elsewhere.

        It takes seconds for thousands of features.
        """
        try:
            values_F = np.linalg.eigvalsh(self.covariance_FF.numpy())
        except np.linalg.LinAlgError:
            values_F = np.array([np.nan])
        least, most = float(values_F.min()), float(values_F.max())
        if not least >= -NEGATIVITY * most:  # nan, where they overflow, is refused too
            raise DataError(
                f"the covariance is not positive semi-definite (its eigenvalues go from {least:.3g} to {most:.3g}), so "
                "no features can have it; make the statistics again"
            )


class Moments:
    """Gathers `Statistics` batch by batch, in memory that the number of images does not change.

    Batches are merged as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances" (1979), around the first image's features: a mean far from zero then costs no digits.
    """

    def __init__(self) -> None:
        self.n = 0
        self._origin_F = self._mean_F = torch.zeros(0, dtype=torch.float64)
        self._scatter_FF = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features_BF: Tensor) -> None:
        """(B, F), B >= 0. Raises DataError where they are not finite."""
        x_BF = _double(features_BF)
        count = len(x_BF)
        if not count:
            return
        check_finite(x_BF)
        if not self.n:
            self._origin_F, self._mean_F = x_BF[0].clone(), torch.zeros_like(x_BF[0])
            self._scatter_FF = x_BF.new_zeros(x_BF.shape[1], x_BF.shape[1])
        if x_BF.shape[1] != len(self._mean_F):
            raise ValueError(f"features of width {x_BF.shape[1]} after features of width {len(self._mean_F)}")
        x_BF = x_BF - self._origin_F
        mean_F = x_BF.mean(0)
        delta_F = mean_F - self._mean_F
        between_F = delta_F * (self.n * count / (self.n + count)) ** 0.5
        rows_BF = torch.cat([x_BF - mean_F, between_F.unsqueeze(0)])
        self._scatter_FF.addmm_(rows_BF.T, rows_BF)
        self._mean_F += delta_F * (count / (self.n + count))
        self.n += count

    def statistics(self) -> Statistics:
        """Of all that was added: at least two images."""
        if self.n < 2:
            raise DataError(f"a covariance needs at least 2 images, and there are {self.n}; give more")
        covariance_FF = self._scatter_FF / (self.n - 1)
        return Statistics(self._origin_F + self._mean_F, (covariance_FF + covariance_FF.T) / 2, self.n)


def frechet_between(a: Statistics, b: Statistics) -> float:
    """The Frechet distance (Heusel et al., arXiv 1706.08500), by torch-fidelity; 0 is the best.

    Raises DataError for statistics of different networks, and where the distance is beyond what float64 can hold.
    """
    if a.n_features != b.n_features:
        raise DataError(
            f"statistics of {a.n_features} and of {b.n_features} features can't be compared, since they were made "
            "with different networks; make both with one"
        )
    first, second = ({"mu": s.mean_F.numpy(), "sigma": s.covariance_FF.numpy()} for s in (a, b))
    try:
        with np.errstate(all="ignore"):  # what overflows is told below
            metric = fid_statistics_to_metric(first, second, verbose=False)
        distance = float(metric[KEY_METRIC_FID])
    except np.linalg.LinAlgError:
        distance = math.nan
    if not math.isfinite(distance):
        largest = max(float(part.abs().max()) for s in (a, b) for part in (s.mean_F, s.covariance_FF))
        raise DataError(
            f"the Frechet distance is not finite, since the statistics hold numbers as large as {largest:.3g}; "
            "make them again"
        )
    return max(0.0, distance)  # rounding can leave -1e-13 between equal sets
