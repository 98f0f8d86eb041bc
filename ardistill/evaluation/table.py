"""The report's rows on a terminal: one line a generator, 110 wide at most, plain where it is no terminal."""

import sys
from collections.abc import Callable, Sequence
from typing import TextIO

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ardistill.evaluation.report import Row

WIDTH = 110
MISSING = "-"
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
    columns = [column for column in COLUMNS if column.always or width >= WIDTH]
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    made.add_column("", no_wrap=True, overflow="ellipsis", max_width=18)
    for column in columns:
        made.add_column(column.heading, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(Text(row.name), *(column.cell(row) for column in columns))
    return made


def print_table(rows: Sequence[Row], file: TextIO | None = None) -> None:
    """Writes the table to `file` (standard output): bold heads on a terminal, bare text elsewhere."""
    console = Console(file=file or sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, highlight=False, width=WIDTH, no_color=True)
    console.print(table(rows, console.width))
    console.print(CAPTION, style="dim")
