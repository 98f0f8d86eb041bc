"""FID against what it costs: seconds an image, and training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ardistill.evaluation.page.legend import letters, series, standing
from ardistill.evaluation.page.plots import Frame, Plot, Point, Rule, Stroke, marks
from ardistill.evaluation.page.scales import Scale, number, short
from ardistill.evaluation.report import Report, Row
from ardistill.evaluation.tables.comparison import counts_passes
from ardistill.evaluation.tables.table import duration

EVAL = "eval"
"""The journal's phase of evaluations during training."""


def distance_plots(report: Report, journal: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Those there are figures for: FID against seconds an image, in a batch and alone, and against training."""
    made = [
        _sampling(report.rows, "In a batch", lambda row: row.seconds_per_image),
        _sampling(report.rows, "One image alone", lambda row: row.latency),
        _training(report, journal),
    ]
    return [plot for plot in made if plot is not None]


def n_on_the_way(report: Report) -> int | None:
    """Images behind an FID during training, by the configuration; None where it does not tell."""
    told = report.config.get("eval")
    n = number(told.get("every_n")) if isinstance(told, Mapping) else None
    return None if n is None else int(n)


def milliseconds(seconds: float) -> str:
    return short(float(f"{1000 * seconds:.6g}"))


def _sampling(rows: Sequence[Row], title: str, seconds_of: Callable[[Row], float | None]) -> Plot | None:
    """Points are labelled with their passes, and with the protocol's letter where there are several.

    A line joins a student's rows that differ in their passes alone.
    """
    groups, letter = [], letters(rows)
    for each in series(rows):
        known = [(number(seconds_of(row)), number(row.fid), row) for row in each.rows]
        groups.append((each, [(x, y, row) for x, y, row in known if x is not None and y is not None]))
    values = [(x, y) for _, found in groups for x, y, _ in found]
    if not values:
        return None
    frame = Frame(
        Scale.over(x for x, _ in values), Scale.over((y for _, y in values), room=0.1), milliseconds
    )
    points = [
        Point(
            each.style,
            each.shape,
            x,
            y,
            f"{row.passes}{letter[row.protocol.key]}",
            f"{row.name}: FID {y:.4g}, {1000 * x:.3g} ms",
        )
        for each, found in groups
        for x, y, row in found
    ]
    curves = [(each, [(x, y) for x, y, row in found if counts_passes(row.name)]) for each, found in groups]
    lines = [Stroke(each.style, frame.path(curve)) for each, curve in curves if len(curve) > 1]
    return Plot(
        title,
        "ms an image",
        "FID",
        frame.x_ticks(),
        frame.y_ticks(),
        lines=tuple(lines),
        marks=marks(points, frame),
    )


def _training(report: Report, journal: Sequence[Mapping[str, Any]]) -> Plot | None:
    """The student's FID at each evaluation; level lines are the rows that as many images stand behind."""
    evaluations = [
        (number(each.get("seconds")), number(each.get("fid")))
        for each in journal
        if each.get("phase") == EVAL
    ]
    points = sorted((x, y) for x, y in evaluations if x is not None and y is not None)
    if not points:
        return None
    level = [
        (row, fid)
        for row in report.rows
        if standing(row) != "student" and row.protocol.n == n_on_the_way(report)
        if (fid := number(row.fid)) is not None
    ]
    longest = max(x for x, _ in points)
    unit, size = next(((name, s) for name, s in (("h", 3600), ("min", 60)) if longest >= 2 * s), ("s", 1))
    frame = Frame(
        Scale.over([0.0, *(x / size for x, _ in points)], room=0.04, linear=True),
        Scale.over([*(y for _, y in points), *(fid for _, fid in level)], room=0.1),
    )
    dots = [
        Point("s0", "dot", x / size, y, "", f"after {duration(x)} of training: FID {y:.4g}")
        for x, y in points
    ]
    return Plot(
        "During training",
        f"training, {unit}",
        "FID",
        frame.x_ticks(),
        frame.y_ticks(),
        lines=(Stroke("s0", frame.path((x / size, y) for x, y in points)),),
        rules=tuple(
            Rule(standing(row), frame.down(fid), row.name, f"{row.name}: FID {fid:.4g}") for row, fid in level
        ),
        marks=marks(dots, frame),
    )
