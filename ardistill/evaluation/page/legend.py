"""Who is who: a colour and a shape for each generator, and a letter for each protocol."""

from collections.abc import Sequence
from typing import Literal

import attrs

from ardistill.errors import ConfigError
from ardistill.evaluation.report import Row
from ardistill.evaluation.tables import marks
from ardistill.evaluation.tables.comparison import TEACHER
from ardistill.schedules import skipped

N_COLOURS = 6
_HOLLOW = ("ring", "square", "triangle")
"""Baselines' shapes."""


@attrs.frozen
class Series:
    """Rows that are one generator at several numbers of passes. `style` and `shape` are the plots' (see plots.py)."""

    name: str
    style: str
    shape: str
    rows: tuple[Row, ...]


def standing(row: Row) -> Literal["teacher", "baseline", "student"]:
    """By the names that an evaluation gives."""
    if row.name == TEACHER:
        return "teacher"
    try:
        skipped(row.name)
    except ConfigError:
        return "student"
    return "baseline"


def series(rows: Sequence[Row]) -> list[Series]:
    """In the order of the rows; "dd1, 1 pass" and "dd1, 2 passes" are both of dd1."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = row.name if standing(row) != "student" else row.name.rpartition(", ")[0] or row.name
        groups.setdefault(name, []).append(row)
    made: list[Series] = []
    students = baselines = 0
    for name, own in groups.items():
        match standing(own[0]):
            case "teacher":
                style, shape = "teacher", "diamond"
            case "baseline":
                style, shape = "baseline", _HOLLOW[baselines % len(_HOLLOW)]
                baselines += 1
            case _:
                style, shape = f"s{students % N_COLOURS}", "dot"
                students += 1
        made.append(Series(name, style, shape, tuple(sorted(own, key=lambda row: row.passes))))
    return made


def letters(rows: Sequence[Row]) -> dict[str, str]:
    """By a protocol's key: "a", "b", ... in order; "" where there is but one."""
    return marks.letters(row.protocol.key for row in rows)
