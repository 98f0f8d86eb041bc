"""What the journal tells of training, a small plot for each value of each phase."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import attrs

from ardistill.evaluation.page.columns import heading
from ardistill.evaluation.page.distances import EVAL
from ardistill.evaluation.page.plots import Frame, Plot, Point, Stroke, marks
from ardistill.evaluation.page.scales import Scale, number

_BINS = 160
"""Points of a curve at most; a longer one is averaged over equal numbers of records."""
_NO_CURVES = frozenset({"phase", "images", "seconds"})


@attrs.frozen
class Curves:
    """A phase's plots. `records` is how many of the journal's stand behind one point, at most."""

    phase: str
    plots: tuple[Plot, ...]
    records: int


def training_curves(journal: Sequence[Mapping[str, Any]]) -> list[Curves]:
    """Phases in their order, evaluations during training last; values that are no numbers are left out."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for record in journal:
        images = number(record.get("images"))
        if images is None:
            continue
        values = found.setdefault(str(record.get("phase", "")), {})
        for name, told in record.items():
            value = None if name in _NO_CURVES else number(told)
            if value is not None:
                values.setdefault(name, []).append((images, value))
    ordered = sorted(found.items(), key=lambda item: item[0] == EVAL)
    made = []
    for phase, values in ordered:
        plots = tuple(_plot(name, points, marked=phase == EVAL) for name, points in values.items())
        records = max((_per_bin(len(points)) for points in values.values()), default=1)
        if plots:
            made.append(Curves(phase, plots, records))
    return made


def _per_bin(n: int) -> int:
    return -(-n // _BINS)


def _plot(name: str, points: Sequence[tuple[float, float]], *, marked: bool) -> Plot:
    """The mean of each bin as a line, over a shade from the least to the most."""
    size = _per_bin(len(points))
    bins = [points[start : start + size] for start in range(0, len(points), size)]
    mean = [(fmean(x for x, _ in each), fmean(y for _, y in each)) for each in bins]
    frame = Frame(
        Scale.over((x for x, _ in points), room=0.02, linear=True), Scale.over(y for _, y in points)
    )
    areas = []
    if size > 1:
        least = [(x, min(y for _, y in each)) for (x, _), each in zip(mean, bins, strict=True)]
        most = [(x, max(y for _, y in each)) for (x, _), each in zip(mean, bins, strict=True)]
        areas = [Stroke("s0", frame.path([*least, *reversed(most)]) + "Z")]
    told = [Point("s0", "dot", x, y, "", f"after {x:,.0f} images: {y:.4g}") for x, y in mean]
    return Plot(
        heading(name),
        "images",
        "",
        frame.x_ticks(),
        frame.y_ticks(),
        areas=tuple(areas),
        lines=(Stroke("s0", frame.path(mean)),),
        marks=marks(told if marked or len(told) == 1 else [], frame),
    )
