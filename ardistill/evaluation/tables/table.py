"""The rows of reports on a terminal, one line a generator; bare text where it is no terminal."""

from collections.abc import Callable, Sequence
from typing import TextIO

import attrs
from rich.table import Table
from rich.text import Text

from ardistill.evaluation.report import PREPARING, Report, Row
from ardistill.evaluation.tables.comparison import Comparison, Line
from ardistill.evaluation.tables.console import console

WIDTH, COMPARISON_WIDTH = 110, 150
MISSING = "-"
_WORTH_TELLING = 0.1  # seconds
CAPTION = (
    "FID to real, held-out (test) and the teacher's images; gap: 0 is the baseline, 100 the teacher;\n"
    "ms an image in a batch and alone; speed: alone, over the teacher"
)
_RARE_WIDTH = 8


def _score(value: float) -> str:
    """Five characters: 0.126, 12.59, 115.1."""
    return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}"


def _length(value: float) -> str:
    return _score(value) if value < 1000 else f"{value:.0f}"


def _milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    return f"{value:#.3g}".rstrip(".") if 1e-4 <= value < 1000 else f"{value:.0f}"


def _count(value: float) -> str:
    """336000 -> 336k."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """As long as one wants to read it.

    >>> duration(9.84), duration(83.2), duration(5000)
    ('9.8 s', '1 m 23 s', '1 h 23 m')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} m"


@attrs.frozen
class _Column:
    heading: str
    field: str
    write: Callable[[float], str]
    always: bool = True
    """Shown on a narrow terminal as well."""
    means: str = ""
    """What the caption says of it."""

    def cell(self, row: Row) -> str:
        value: float | None = getattr(row, self.field)
        return MISSING if value is None else self.write(value)

    def found(self, rows: Sequence[Row]) -> bool:
        return any(getattr(row, self.field) is not None for row in rows)


COLUMNS = (
    _Column("pass", "passes", "{:.0f}".format),
    _Column("FID", "fid", _score),
    _Column("gap %", "gap_real", "{:.1f}".format),
    _Column("test", "fid_test", _score, always=False),
    _Column("teach", "fid_teacher", _score),
    _Column("gap %", "gap_teacher", "{:.1f}".format),
    _Column("IS", "isc", _score, always=False),
    _Column("prec", "precision", "{:.2f}".format, always=False),
    _Column("rec", "recall", "{:.2f}".format, always=False),
    _Column("acc %", "accuracy", lambda share: f"{100 * share:.1f}"),
    _Column("NLL", "nll", "{:.2f}".format),
    _Column("params", "parameters", _count, always=False),
    _Column("ms/img", "seconds_per_image", _milliseconds, always=False),
    _Column("alone", "latency", _milliseconds),
    _Column("speed", "latency_speedup", "{:.1f}x".format),
)
RARE = (
    _Column("KID", "kid", lambda kid: _score(1000 * kid), means="KID: times 1000"),
    _Column(
        "TV", "tokens_tv", "{:.3f}".format, means="TV: total variation of token counts from the teacher's"
    ),
    _Column("joint", "joint_tv", "{:.3f}".format, means="joint: total variation of whole sequences"),
    _Column("PPL", "ppl", _length, means="PPL: perceptual path length"),
)
"""Shown where a row has them and the page is wide enough for all."""
_BEFORE_RARE = 9


def _columns(rows: Sequence[Row], width: int, enough: int) -> tuple[_Column, ...]:
    """All that fit: on less than `enough` the most telling ones alone, rare ones only beyond it."""
    rare = tuple(column for column in RARE if column.found(rows))
    if width < enough:
        return tuple(column for column in COLUMNS if column.always)
    if width < enough + _RARE_WIDTH * len(rare):
        return COLUMNS
    return (*COLUMNS[:_BEFORE_RARE], *rare, *COLUMNS[_BEFORE_RARE:])


def _room(rows: Sequence[Row], enough: int) -> int:
    """The width that shows every column."""
    return enough + _RARE_WIDTH * sum(column.found(rows) for column in RARE)


def _caption(columns: Sequence[_Column]) -> str:
    rare = "; ".join(column.means for column in columns if column.means)
    return CAPTION + (f"\n{rare}" if rare else "")


def table(rows: Sequence[Row], width: int = WIDTH) -> Table:
    """The rows as a rich table; below a `width` of 110 the less telling columns are left to the report."""
    return _table([row.name for row in rows], rows, _columns(rows, width, WIDTH), name_width=18)


def _table(
    names: Sequence[str],
    rows: Sequence[Row],
    columns: Sequence[_Column],
    *,
    name_width: int,
    last: Sequence[str] = (),
) -> Table:
    """`last` is one more column, its heading first."""
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    made.add_column("", no_wrap=True, overflow="ellipsis", max_width=name_width)
    for heading in [*(column.heading for column in columns), *last[:1]]:
        made.add_column(heading, justify="right", no_wrap=True)
    for index, (name, row) in enumerate(zip(names, rows, strict=True), start=1):
        made.add_row(Text(name), *(column.cell(row) for column in columns), *last[index : index + 1])
    return made


def _brief(seconds: float | None) -> str:
    """Two figures, or whole seconds."""
    if seconds is None:
        return MISSING
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def comparison_table(lines: Sequence[Line], width: int = COMPARISON_WIDTH) -> Table:
    """The lines of a comparison, with what their training took; below a `width` of 150 in fewer columns."""
    rows = [line.row for line in lines]
    return _table(
        [line.name for line in lines],
        rows,
        _columns(rows, width, COMPARISON_WIDTH),
        name_width=50 if width >= COMPARISON_WIDTH else 24,
        last=["train s", *(_brief(line.training_seconds) for line in lines)],
    )


def print_comparison(comparison: Comparison, file: TextIO | None = None) -> None:
    """The table, what its columns mean, and what one has to know to believe it."""
    lines = (*comparison.lines, *comparison.spread)
    rows = [line.row for line in lines]
    page = console(file, _room(rows, COMPARISON_WIDTH))
    page.print(comparison_table(lines, page.width))
    page.print(_caption(_columns(rows, page.width, COMPARISON_WIDTH)), style="dim")
    page.print("train s: the seconds that training took, preparing included", style="dim")
    for note in comparison.notes:
        page.print(Text(note))


def cost_lines(report: Report) -> list[str]:
    """What preparing and training took, a line each, with how much a second; none for an evaluation alone."""
    lines, phases = [], report.phase_seconds
    prepared = {
        name.removeprefix(f"{PREPARING} "): rate
        for name, rate in report.throughput.items()
        if name.startswith(f"{PREPARING} ")
    }
    if prepared or report.seconds.get(PREPARING, 0) >= _WORTH_TELLING:
        rates = ", ".join(f"{_rate(rate)} {what}/s" for what, rate in prepared.items())
        lines.append(f"prepared in {duration(report.seconds[PREPARING])}" + (f": {rates}" if rates else ""))
    if phases:
        known = ", ".join(
            f"{name} {_rate(report.throughput[name])}" for name in phases if name in report.throughput
        )
        rates = f": {known} images/s" if known else ""
        lines.append(f"trained in {duration(sum(phases.values()))}{rates}")
    return lines


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def print_table(rows: Sequence[Row], file: TextIO | None = None) -> None:
    """Writes the table to `file` (standard output): bold heads on a terminal, bare text elsewhere."""
    page = console(file, _room(rows, WIDTH))
    page.print(table(rows, page.width))
    page.print(_caption(_columns(rows, page.width, WIDTH)), style="dim")
