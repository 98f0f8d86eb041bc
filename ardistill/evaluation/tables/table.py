"""The rows of reports on a terminal, one line a generator; bare text where it is no terminal."""

from collections.abc import Callable, Sequence
from typing import TextIO

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ardistill.evaluation.report import PREPARING, Report, Row
from ardistill.evaluation.tables import marks
from ardistill.evaluation.tables.comparison import Comparison
from ardistill.evaluation.tables.console import console
from ardistill.wording import printable

LONGEST_NAME = 48
"""Characters of a name on one line, where the page is no terminal."""
MISSING = "-"
_PROSE = 110
_WORTH_TELLING = 0.1  # seconds
CAPTION = (
    "FID to real, held-out (test) and the teacher's images; gap: 0 is the baseline, 100 the teacher;\n"
    "ms an image in a batch and alone; speed: alone, over the teacher"
)


def score(value: float) -> str:
    """Five characters: 0.126, 12.59, 115.1."""
    return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}"


def _length(value: float) -> str:
    return score(value) if value < 1000 else f"{value:.0f}"


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
    rank: int
    """On a narrow terminal columns of the highest rank go first, those of 0 never."""
    means: str = ""
    """What the caption says of it."""
    further: bool = False
    """Whether it is a metric of a plugin."""

    def value(self, row: Row) -> float | None:
        found: float | None = row.more.get(self.field) if self.further else getattr(row, self.field)
        return found

    def cell(self, row: Row) -> str:
        value = self.value(row)
        return MISSING if value is None else self.write(value)

    def found(self, rows: Sequence[Row]) -> bool:
        return any(self.value(row) is not None for row in rows)


COLUMNS = (
    _Column("pass", "passes", "{:.0f}".format, 0),
    _Column("FID", "fid", score, 0),
    _Column("gap %", "gap_real", "{:.1f}".format, 1),
    _Column("test", "fid_test", score, 11),
    _Column("teach", "fid_teacher", score, 3),
    _Column("gap %", "gap_teacher", "{:.1f}".format, 6),
    _Column("IS", "isc", score, 8),
    _Column("prec", "precision", "{:.2f}".format, 9),
    _Column("rec", "recall", "{:.2f}".format, 9),
    _Column("acc %", "accuracy", lambda share: f"{100 * share:.1f}", 5),
    _Column("NLL", "nll", "{:.2f}".format, 4),
    _Column("params", "parameters", _count, 10),
    _Column("ms/img", "seconds_per_image", _milliseconds, 12),
    _Column("alone", "latency", _milliseconds, 7),
    _Column("speed", "latency_speedup", "{:.1f}x".format, 2),
)
RARE = (
    _Column("KID", "kid", lambda kid: score(1000 * kid), 13, means="KID: times 1000"),
    _Column(
        "TV",
        "tokens_tv",
        "{:.3f}".format,
        14,
        means="TV: total variation of token counts from the teacher's",
    ),
    _Column("joint", "joint_tv", "{:.3f}".format, 15, means="joint: total variation of whole sequences"),
    _Column("PPL", "ppl", _length, 16, means="PPL: perceptual path length"),
)
"""Shown where a row has them."""
_BEFORE_RARE = 9


def _further(rows: Sequence[Row]) -> list[_Column]:
    """Those of plugins' metrics."""
    names = dict.fromkeys(name for row in rows for name in row.more)
    return [_Column(printable(name), name, score, 17, further=True) for name in names]


@attrs.frozen
class _Drawn:
    """A column with its cells, heading first."""

    cells: tuple[str, ...]
    rank: int
    means: str = ""

    @property
    def width(self) -> int:
        """With the space before it."""
        return 1 + max(map(len, self.cells))


def _drawn(rows: Sequence[Row], last: Sequence[str]) -> list[_Drawn]:
    """Every column; `last` is one more. A letter beside FID says by which protocol, where there are several."""
    rare = [*(column for column in RARE if column.found(rows)), *_further(rows)]
    letters = marks.letters(row.protocol.key for row in rows)
    made = []
    for column in (*COLUMNS[:_BEFORE_RARE], *rare, *COLUMNS[_BEFORE_RARE:]):
        cells = [column.cell(row) for row in rows]
        if column.field == "fid":
            marked = zip(cells, rows, strict=True)
            cells = [f"{cell} {letters[row.protocol.key]}".rstrip() for cell, row in marked]
        made.append(_Drawn((column.heading, *cells), column.rank, column.means))
    return [*made, *([_Drawn(tuple(last), 0)] if last else [])]


def _fitting(columns: Sequence[_Drawn], room: int) -> list[_Drawn]:
    kept = list(columns)
    while sum(column.width for column in kept) > room and any(column.rank for column in kept):
        first = max(column.rank for column in kept)
        kept = [column for column in kept if column.rank != first]
    return kept


def _print(
    names: Sequence[str], rows: Sequence[Row], file: TextIO | None, last: Sequence[str] = ()
) -> Console:
    """The table and what its columns mean. A narrow terminal has fewer columns, but whole names.

    `last` is one more column, its heading first. Returns where it was printed.
    """
    names, columns = [printable(name) for name in names], _drawn(rows, last)
    longest = max(map(cell_len, names), default=0)
    every = sum(column.width for column in columns)
    page = console(file, max(_PROSE, min(longest, LONGEST_NAME) + every))
    least = sum(column.width for column in columns if not column.rank)
    wide = min(longest, max(page.width - least, 1) if page.is_terminal else LONGEST_NAME)
    columns = _fitting(columns, page.width - wide)
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    made.add_column("", overflow="fold", no_wrap=longest <= wide, max_width=wide)
    for column in columns:
        made.add_column(column.cells[0], justify="right", no_wrap=True)
    for index, name in enumerate(names, start=1):
        made.add_row(Text(name), *(column.cells[index] for column in columns))
    page.print(made)
    rare = "; ".join(column.means for column in columns if column.means)
    page.print(CAPTION + (f"\n{rare}" if rare else ""), style="dim")
    return page


def _brief(seconds: float | None) -> str:
    """Two figures, or whole seconds."""
    if seconds is None:
        return MISSING
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def print_comparison(comparison: Comparison, file: TextIO | None = None) -> None:
    """The table, with what training took, what its columns mean, and what one has to know to believe it."""
    lines = (*comparison.lines, *comparison.spread)
    took = ["train s", *(_brief(line.training_seconds) for line in lines)]
    page = _print([line.name for line in lines], [line.row for line in lines], file, took)
    page.print("train s: the seconds that training took, preparing included", style="dim")
    for note in comparison.notes:
        page.print(Text(printable(note)))


def cost_lines(report: Report) -> list[str]:
    """What preparing and training took, a line each, with how much a second; none for an evaluation alone."""
    lines, phases = [], report.phase_seconds
    prepared = {
        name.removeprefix(f"{PREPARING} "): rate
        for name, rate in report.throughput.items()
        if name.startswith(f"{PREPARING} ")
    }
    if prepared or report.seconds.get(PREPARING, 0) >= _WORTH_TELLING:
        rates = ", ".join(f"{per_second(rate)} {what}/s" for what, rate in prepared.items())
        lines.append(f"prepared in {duration(report.seconds[PREPARING])}" + (f": {rates}" if rates else ""))
    if phases:
        known = ", ".join(
            f"{name} {per_second(report.throughput[name])}" for name in phases if name in report.throughput
        )
        rates = f": {known} images/s" if known else ""
        lines.append(f"trained in {duration(sum(phases.values()))}{rates}")
    return [printable(line) for line in lines]


def per_second(value: float) -> str:
    """A rate in two figures, or whole.

    >>> per_second(1224.4), per_second(5.64)
    ('1,224', '5.6')
    """
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def print_table(rows: Sequence[Row], file: TextIO | None = None) -> None:
    """Writes the table to `file` (standard output), and a line for each protocol where there are several."""
    page = _print([row.name for row in rows], rows, file)
    protocols = {row.protocol.key: row.protocol for row in reversed(rows)}
    letters = marks.letters(row.protocol.key for row in rows)
    if len(letters) > 1:
        page.print(marks.CAPTION, style="dim")
        for key, letter in letters.items():
            note = f"{letter}: {marks.spelled(protocols[key])}"
            page.print(Text(printable(note)), soft_wrap=not page.is_terminal)
