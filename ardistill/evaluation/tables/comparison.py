"""Reports side by side: teacher and baselines once, every run's rows, and their spread over seeds."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs

from ardistill.errors import ArdistillError, RunFolderError
from ardistill.evaluation.protocol import Protocol
from ardistill.evaluation.report import Report, Row
from ardistill.schedules import ONESTEP, skipped
from ardistill.wording import shown

TEACHER = "teacher"
_NO_FIGURES = frozenset({"more", "name", "protocol"})
"""Of a row."""
_ABSENT = "absent"
_SAME_FID = 0.02
"""By what share FIDs of the same teacher and seed may differ: machines round differently."""


@attrs.frozen
class Entry:
    """A report, and where it was found."""

    path: Path
    report: Report

    @property
    def config(self) -> Mapping[str, Any]:
        return self.report.config

    @property
    def method(self) -> str:
        """Or the student's name, where a student was evaluated that no run of ours made."""
        section = self.config.get("method") or self.config.get("student") or {}
        return str(section.get("name", "student"))

    @property
    def where(self) -> str:
        """The run's folder, or the file of a report that has a name of its own."""
        return self.path.parent.name if self.path.name == "report.json" else self.path.name

    def own_rows(self) -> tuple[Row, ...]:
        """The student's. A run of a baseline has one row, the last, and is called as others' baseline is."""
        *before, last = self.report.rows
        return (*(row for row in before if not (row.name == TEACHER or _is_baseline(row))), last)


@attrs.frozen
class Line:
    """A row of the comparison. `series` is the run it belongs to, "" for none."""

    name: str
    row: Row
    training_seconds: float | None = None
    series: str = ""


@attrs.frozen
class Comparison:
    """What the table and the figure show. `spread` has the mean, least and most of each row over the seeds."""

    lines: tuple[Line, ...]
    spread: tuple[Line, ...]
    notes: tuple[str, ...]


def compare(entries: Sequence[Entry]) -> Comparison:
    """The reports side by side. Raises RunFolderError, naming the field, where their figures can't be compared."""
    for index, entry in enumerate(entries):
        _check(entry, entries[:index])
    own = [line for entry in entries for line in _lines(entry, entries)]
    names = {row.name for entry in entries for row in entry.own_rows()}
    common: dict[str, Row] = {}
    for entry in entries:
        for row in entry.report.rows:
            if row.name not in names and (row.name == TEACHER or _is_baseline(row)):
                common.setdefault(row.name, row)
    ordered = sorted(common.values(), key=lambda row: row.name != TEACHER)
    first = tuple(Line(row.name, row) for row in ordered)
    return Comparison((*first, *own), tuple(_spread(entries)), tuple(_notes(entries)))


def counts_passes(name: str) -> bool:
    """Whether a row's name ends in passes, "dd1, 2 passes"; rows of other schedules are no points of one curve."""
    return re.search(r"(^|, )[0-9]+ pass(es)?$", name) is not None


def _is_baseline(row: Row) -> bool:
    try:
        skipped(row.name)
    except ArdistillError:
        return False
    return True


def _check(entry: Entry, before: Sequence[Entry]) -> None:
    """Whether the entry can stand beside those before it.

    With the same seed the teacher drew the same samples, so its rows say whether it is the same, whatever it was told
    of how to serve methods. With another seed its words have to say so.
    """
    if any(entry.path == other.path for other in before):
        raise RunFolderError(f"{entry.path} is given twice; give each run once")
    if not entry.report.rows:
        raise RunFolderError(f"{entry.path} has no rows; evaluate the run again")
    first, *others = entry.report.rows
    for row in others:
        for field, ours, theirs in _of_protocols(first.protocol, row.protocol):
            raise RunFolderError(
                f"{entry.path} holds rows that can't be compared: {field} is {ours} in {shown(first.name)} and "
                f"{theirs} in {shown(row.name)}; evaluate the run again"
            )
    if not before:
        return
    twin = next((other for other in before if other.report.seed == entry.report.seed), None)
    one = twin or before[0]
    for field, ours, theirs in _differences(one, entry, whole=twin is None):
        raise _differ(one, entry, field, ours, theirs)
    if twin is not None:
        drawn = [row.fid for each in (one, entry) for row in each.report.rows if row.name == TEACHER]
        if len(drawn) == 2 and not math.isclose(*drawn, rel_tol=_SAME_FID):
            raise _differ(
                one, entry, "the teacher's FID, of the same seed,", *(f"{fid:.4g}" for fid in drawn)
            )


def _differences(one: Entry, other: Entry, *, whole: bool) -> Iterator[tuple[str, object, object]]:
    """What makes figures incomparable: dotted name, ours and theirs; `whole` with all that the teacher was told.

    A setting that one configuration does not hold is no difference, since configurations grow.
    """
    for section in ("teacher", "data"):
        told = [each.config.get(section, {}) for each in (one, other)]
        if section == "teacher" and not whole:
            told = [{"name": teacher.get("name")} for teacher in told]
        for field, ours, theirs in _leaves(section, *told):
            if _ABSENT not in (ours, theirs):
                yield field, ours, theirs
    yield from _of_protocols(one.report.protocol, other.report.protocol)


def _of_protocols(one: Protocol, other: Protocol) -> Iterator[tuple[str, object, object]]:
    for field, values in one.differences(other).items():
        yield from _leaves("protocol" if field == "name" else field, *values)


def _leaves(name: str, ours: object, theirs: object) -> Iterator[tuple[str, object, object]]:
    """Where two values differ, by dotted name."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys((*ours, *theirs)):
            yield from _leaves(f"{name}.{key}", ours.get(key, _ABSENT), theirs.get(key, _ABSENT))
    elif ours != theirs:
        yield name, ours, theirs


def _differ(one: Entry, other: Entry, field: str, ours: object, theirs: object) -> RunFolderError:
    return RunFolderError(
        f"{one.path} and {other.path} can't be compared: {field} is {ours} in the one and {theirs} in the other; "
        "evaluate one of them anew as the other was"
    )


def _lines(entry: Entry, entries: Sequence[Entry]) -> Iterator[Line]:
    """The run's own rows; where its method occurs twice, its seed and folder say which run it is."""
    alone = sum(other.method == entry.method for other in entries) == 1
    which = "" if alone else f" [seed {entry.report.seed}, {entry.where}]"
    for row in entry.own_rows():
        series = row.name if _is_baseline(row) else entry.method
        yield Line(f"{row.name}{which}", row, entry.report.training_seconds, f"{series}{which}")


def _spread(entries: Sequence[Entry]) -> Iterator[Line]:
    """Mean, least and most of rows that differ in their seed alone."""
    groups: dict[str, dict[int, Entry]] = {}
    for entry in entries:
        settings = {key: entry.config.get(key) for key in ("method", "student", "teacher", "data")}
        groups.setdefault(repr(settings), {}).setdefault(entry.report.seed, entry)
    for group in groups.values():
        reports = [entry.report for entry in group.values()]
        for own in next(iter(group.values())).own_rows():
            rows = [row for report in reports for row in report.rows if row.name == own.name]
            if len(rows) < 2:
                continue
            trained = [report.training_seconds for report in reports]
            kinds: dict[str, Callable[[Sequence[float]], float]] = {
                f"{own.name}: mean of {len(rows)} seeds": fmean,
                "  least": min,
                "  most": max,
            }
            for name, over in kinds.items():
                yield Line(name, _over(rows, name, over), _one(trained, over))


def _over(rows: Sequence[Row], name: str, over: Callable[[Sequence[float]], float]) -> Row:
    """Each figure of the rows over them all; None where one lacks it."""
    fields = [field.name for field in attrs.fields(Row) if not field.name.endswith("_range")]
    figures = {
        field: _one([getattr(row, field) for row in rows], over)
        for field in fields
        if field not in _NO_FIGURES
    }
    names = dict.fromkeys(name for row in rows for name in row.more)
    further = {name: _one([row.more.get(name) for row in rows], over) for name in names}
    more = {name: value for name, value in further.items() if value is not None}
    protocol = rows[0].protocol
    return Row(name=name, protocol=protocol, more=more, **figures)  # type: ignore[arg-type]  # a mean of passes is a number too


def _one(values: Sequence[float | None], over: Callable[[Sequence[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return over(known) if known and len(known) == len(values) else None


def _notes(entries: Sequence[Entry]) -> Iterator[str]:
    """What a reader has to know before believing the table."""
    first = entries[0]
    if len({entry.report.seed for entry in entries}) > 1:
        yield f"teacher and baselines are those of {first.where}, seed {first.report.seed}"
    ends = [
        tuple(row.fid for row in entry.report.rows if row.name == name)
        for name in (TEACHER, ONESTEP)
        for entry in entries
    ]
    if len(set(ends)) > 2:
        yield f"gaps lie between each run's own {TEACHER} and {ONESTEP}"
    machines = {repr(sorted(entry.report.hardware.items())) for entry in entries}
    if len(machines) > 1:
        yield "seconds were measured on different machines or threads, and do not compare"
