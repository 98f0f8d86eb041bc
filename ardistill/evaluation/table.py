"""The rows of reports on a terminal, one line a generator; bare text where it is no terminal."""

import sys
from collections.abc import Callable, Sequence
from typing import TextIO

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ardistill.evaluation.comparison import Comparison, Line
from ardistill.evaluation.report import PREPARING, Report, Row

WIDTH, COMPARISON_WIDTH = 110, 150
MISSING = "-"
_WORTH_TELLING = 0.1  # seconds
CAPTION = (
    "FID to real, held-out (test) and the teacher's images; gap: 0 is the baseline, 100 the teacher;\n"
    "ms an image in a batch and alone; speed: alone, over the teacher"
)


def _score(value: float) -> str:
    """Five characters: 0.126, 12.59, 115.1."""
    return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}"


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

    def cell(self, row: Row) -> str:
        value: float | None = getattr(row, self.field)
        return MISSING if value is None else self.write(value)


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


def table(rows: Sequence[Row], width: int = WIDTH) -> Table:
    """The rows as a rich table; below a `width` of 110 the less telling columns are left to the report."""
    return _table([row.name for row in rows], rows, every=width >= WIDTH, name_width=18)


def _table(
    names: Sequence[str], rows: Sequence[Row], *, every: bool, name_width: int, last: Sequence[str] = ()
) -> Table:
    """`last` is one more column, its heading first."""
    columns = [column for column in COLUMNS if column.always or every]
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
    every = width >= COMPARISON_WIDTH
    took = [_brief(line.training_seconds) for line in lines]
    return _table(
        [line.name for line in lines],
        [line.row for line in lines],
        every=every,
        name_width=50 if every else 24,
        last=["train s", *took],
    )


def print_comparison(comparison: Comparison, file: TextIO | None = None) -> None:
    """The table, what its columns mean, and what one has to know to believe it."""
    console = _console(file, COMPARISON_WIDTH)
    console.print(comparison_table((*comparison.lines, *comparison.spread), console.width))
    console.print(CAPTION, style="dim")
    console.print("train s: the seconds that training took, preparing included", style="dim")
    for note in comparison.notes:
        console.print(Text(note))


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
    console = _console(file, WIDTH)
    console.print(table(rows, console.width))
    console.print(CAPTION, style="dim")


def _console(file: TextIO | None, width: int) -> Console:
    """`width` is for what is no terminal."""
    console = Console(file=file or sys.stdout, highlight=False)
    return (
        console
        if console.is_terminal
        else Console(file=console.file, highlight=False, width=width, no_color=True)
    )
