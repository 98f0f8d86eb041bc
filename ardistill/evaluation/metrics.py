"""Figures that plugins take of each candidate's images, beside those that every report has.

Shape legend: B batch, F features, H W pixels.
"""

import math
from collections.abc import Callable, Mapping

import attrs
from torch import Tensor

from ardistill.errors import PluginError
from ardistill.protocols import Metric


@attrs.frozen(eq=False)
class Running:
    """The metrics of one candidate, on their way through its images."""

    by_name: Mapping[str, Metric]

    def update(self, images_BCHW: Tensor, labels_B: Tensor, features_BF: Tensor) -> None:
        for metric in self.by_name.values():
            metric.update(images_BCHW, labels_B, features_BF)

    def results(self) -> dict[str, float]:
        """Every figure by its name. Raises PluginError where two metrics give the same, or one gives no number."""
        found: dict[str, float] = {}
        for name, metric in self.by_name.items():
            for figure, value in metric.result().items():
                if figure in found:
                    told = f"{figure} is given by two metrics, {name} the second"
                    raise PluginError(f"eval.metrics: {told}; leave one out")
                if not isinstance(value, int | float) or not math.isfinite(value):
                    raise PluginError(f"metric {name} gives {figure}={value}, which is no finite number")
                found[figure] = float(value)
        return found


@attrs.frozen(eq=False)
class Metrics:
    """What makes them anew for each candidate, and their settings as JSON has them: a part of the protocol."""

    makers: Mapping[str, Callable[[], Metric]] = attrs.field(factory=dict)
    told: Mapping[str, object] = attrs.field(factory=dict)

    def begin(self) -> Running:
        return Running({name: make() for name, make in self.makers.items()})
