"""The mean distance between two images of one class, in features: a student that has lost modes draws images alike.

Shape legend: B batch, N images of one class, F features, H W pixels.
"""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from ardistill.errors import DataError
from ardistill_fidelity.config import DiversityConfig


class Diversity:
    """`diversity`: Euclidean distances of features, averaged over the pairs of a class, then over the classes."""

    def __init__(self, config: DiversityConfig) -> None:
        self._limit = config.per_class
        self._seen: dict[int, list[Tensor]] = defaultdict(list)

    def update(self, images_BCHW: Tensor, labels_B: Tensor, features_BF: Tensor) -> None:
        del images_BCHW
        for label, feature_F in zip(labels_B.tolist(), features_BF, strict=True):
            if len(self._seen[label]) < self._limit:
                self._seen[label].append(feature_F.float())

    def result(self) -> Mapping[str, float]:
        """Raises DataError where no class has two images."""
        classes = [torch.stack(features) for features in self._seen.values() if len(features) > 1]
        if not classes:
            raise DataError(
                "eval.metrics=diversity compares images of one class, and none has two; give a larger eval.n"
            )
        means = [torch.pdist(features_NF).double().mean() for features_NF in classes]
        return {"diversity": float(torch.stack(means).mean())}
