"""Measured rows and published ones in one table, each distance with a mark of how it was measured. Free of torch."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

import attrs
from rich.table import Table
from rich.text import Text

from ardistill.evaluation.tables.console import console
from ardistill.evaluation.tables.marks import CAPTION, letters, spelled
from ardistill.evaluation.tables.published import Published
from ardistill.wording import printable

if TYPE_CHECKING:
    from ardistill.evaluation.tables.comparison import Entry  # which imports torch

WIDTH, NARROW = 200, 110
MISSING = "-"
HEADINGS = ("model", "method", "passes", "FID", "IS", "P", "R", "params", "s/img", "source")
_LEFT = frozenset({"model", "method", "source"})
_ALWAYS = frozenset({*_LEFT, "passes", "FID"})
_UNITS = (("B", 1e9), ("M", 1e6), ("k", 1e3))


@attrs.frozen
class Listed:
    """A row of the table. `protocol` is a line that tells rows that compare from those that do not."""

    model: str
    method: str
    passes: int
    fid: float
    isc: float | None
    precision: float | None
    recall: float | None
    parameters: int | None
    seconds_per_image: float | None
    protocol: str
    source: str


def from_papers(rows: Iterable[Published]) -> list[Listed]:
    return [
        Listed(
            found.model,
            found.method,
            found.passes,
            found.fid,
            found.isc,
            found.precision,
            found.recall,
            None if found.parameters is None else round(found.parameters),
            found.seconds,
            row.protocol.line(),
            row.where,
        )
        for row in rows
        for found in (row.figures,)
    ]


def from_reports(entries: "Iterable[Entry]") -> list[Listed]:
    """Every row of every report, teachers and baselines included."""
    return [
        Listed(
            _model(entry.config),
            row.name,
            row.passes,
            row.fid,
            row.isc,
            row.precision,
            row.recall,
            row.parameters,
            row.seconds_per_image,
            spelled(row.protocol),
            entry.where,
        )
        for entry in entries
        for row in entry.report.rows
    ]


def _model(config: Mapping[str, object]) -> str:
    """The teacher, and the data it draws: "var, digits"."""
    sections = [config.get(name) for name in ("teacher", "data")]
    names = [section.get("name") for section in sections if isinstance(section, Mapping)]
    return ", ".join(str(name) for name in names if name) or MISSING


def marks(rows: Iterable[Listed]) -> dict[str, str]:
    """By the line that tells a protocol."""
    return letters(row.protocol for row in rows)


def footnotes(rows: Iterable[Listed]) -> list[str]:
    return [f"{mark}: {line}" if mark else line for line, mark in marks(rows).items()]


def _fid(value: float) -> str:
    return f"{value:.{3 if value < 1 else 2 if value < 100 else 1}f}"


def _count(value: float) -> str:
    """310M, 1.09B."""
    unit, size = next((each for each in _UNITS if value >= each[1]), ("", 1))
    return f"{value / size:.3g}{unit}"


def _cells(row: Listed, marked: str) -> list[str]:
    """Under `HEADINGS`; `marked` is the distance with its mark."""

    def number(value: float | None, form: str) -> str:
        return MISSING if value is None else format(value, form)

    return [
        row.model,
        row.method,
        str(row.passes),
        marked,
        number(row.isc, ".1f"),
        number(row.precision, ".2f"),
        number(row.recall, ".2f"),
        MISSING if row.parameters is None else _count(row.parameters),
        number(row.seconds_per_image, ".3g"),
        row.source,
    ]


def print_listing(rows: Sequence[Listed], file: TextIO | None = None) -> None:
    """The table, and a line for each protocol in it; on less than 110 columns with the distances alone."""
    page, mark_of = console(file, WIDTH), marks(rows)
    wide = page.width >= NARROW
    shown = [heading for heading in HEADINGS if wide or heading in _ALWAYS]
    made = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), pad_edge=False, header_style="bold")
    for heading in shown:
        made.add_column(
            heading,
            justify="left" if heading in _LEFT else "right",
            no_wrap=heading != "source",
            overflow="fold",
        )
    for row in rows:
        marked = f"{_fid(row.fid)} {mark_of[row.protocol]}".rstrip()
        cells = dict(zip(HEADINGS, _cells(row, marked), strict=True))
        made.add_row(*(Text(printable(cells[heading])) for heading in shown))
    page.print(made)
    page.print()
    if len(mark_of) > 1:
        page.print(CAPTION, style="dim")
    for note in footnotes(rows):
        page.print(Text(printable(note)), soft_wrap=not page.is_terminal)


def markdown(rows: Sequence[Listed]) -> str:
    """A Markdown table with the protocols under it."""
    mark_of = marks(rows)
    lines = [
        _line(HEADINGS),
        _line([":--" if heading in _LEFT else "--:" for heading in HEADINGS]),
    ]
    for row in rows:
        mark = mark_of[row.protocol]
        cells = [_escaped(cell) for cell in _cells(row, _fid(row.fid))]
        cells[HEADINGS.index("FID")] += f" <sup>{mark}</sup>" if mark else ""
        lines.append(_line(cells))
    notes = [f"- {_escaped(note)}" for note in footnotes(rows)]
    caption = [CAPTION, ""] if len(mark_of) > 1 else []
    return "\n".join([*lines, "", *caption, *notes, ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    marked = "\\|*_<>`[]"
    return "".join(f"\\{character}" if character in marked else character for character in printable(text))


def csv_text(rows: Sequence[Listed]) -> str:
    """Comma-separated, numbers as they are, with each row's protocol spelled out in its own column."""
    mark_of = marks(rows)
    names = [field.name for field in attrs.fields(Listed)]
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow([*names, "mark"])
    writer.writerows([*attrs.astuple(row), mark_of[row.protocol]] for row in rows)
    return page.getvalue()
