"""The figure of a comparison: FID against seconds an image, and against the time that training took."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ardistill.evaluation.tables.comparison import TEACHER, Line, counts_passes
from ardistill.evaluation.tables.table import duration
from ardistill.wording import printable

_INCHES, _DPI = (12.0, 5.0), 110
_COLOURS = colormaps["tab10"]
_WIDE = 8.0
"""The ratio of a panel's largest FID to its least from which its axis is logarithmic."""


def chart(lines: Sequence[Line]) -> bytes:
    """A PNG file of 1320 x 550 pixels. Points are marked with their passes; what has no time on an axis is left out.

    The teacher and the baselines that no run made are dotted lines across the panel of training.
    """
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    sampling, training = figure.subplots(1, 2, sharey=True)
    names = dict.fromkeys(line.series or line.name for line in lines)
    colours = {name: "black" if name == TEACHER else _COLOURS(i % 10) for i, name in enumerate(names)}
    _draw(sampling, lines, [line.row.seconds_per_image for line in lines], colours)
    _draw(training, lines, [line.training_seconds for line in lines], colours)
    for line in lines:
        if not line.series:
            training.axhline(
                line.row.fid, color=colours[line.series or line.name], linestyle=":", linewidth=1
            )
    fids = [line.row.fid for line in lines if line.row.fid > 0]
    if fids and max(fids) > _WIDE * min(fids):
        sampling.set_yscale("log")
    sampling.set_ylabel("FID to real images")
    sampling.set_xlabel("ms an image, in a batch")
    sampling.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{1000 * seconds:g}"))
    training.set_xlabel("training, preparing included")
    training.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration(seconds)))
    if all(line.training_seconds is None for line in lines):
        training.text(
            0.5, 0.5, "no report tells its training time", ha="center", transform=training.transAxes
        )
        training.set_xticks([])
    figure.legend(
        *sampling.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize="small",
        frameon=False,
    )
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw(
    axes: Axes, lines: Sequence[Line], times: Sequence[float | None], colours: Mapping[str, object]
) -> None:
    """A run's points that differ in their passes alone are joined, in that order."""
    known = [(line, time) for line, time in zip(lines, times, strict=True) if time is not None]
    for name, colour in colours.items():
        own = [(line.row, time) for line, time in known if (line.series or line.name) == name]
        if not own:
            continue
        own.sort(key=lambda each: each[0].passes)
        axes.plot(
            [time for _, time in own],
            [row.fid for row, _ in own],
            marker="o",
            linestyle="",
            color=colour,
            label=printable(name).replace("$", r"\$"),
        )
        curve = [(time, row.fid) for row, time in own if counts_passes(row.name)]
        if len(curve) > 1:
            axes.plot(*zip(*curve, strict=True), color=colour, linewidth=1)
        for row, time in own:
            place = (time, row.fid)
            axes.annotate(str(row.passes), place, textcoords="offset points", xytext=(5, 4), fontsize="small")
    if known and min(time for _, time in known) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.2)
