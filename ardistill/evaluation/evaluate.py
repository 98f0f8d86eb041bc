"""From candidates to the report's rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter

import attrs

from ardistill.evaluation.drawing import Candidate, Standing
from ardistill.evaluation.judge import Judge
from ardistill.evaluation.report import Row, gap_closed
from ardistill.evaluation.showing import REAL

REDRAW = "teacher-redraw"


@attrs.frozen(eq=False)
class Evaluation:
    """Rows for the report, and the FID between held-out and reference images, None where nothing is held out.

    `seconds` is wall time by candidate.
    """

    rows: tuple[Row, ...]
    floor: float | None
    seconds: Mapping[str, float]


class Laps:
    """Wall seconds between calls, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def __call__(self, phase: str) -> None:
        now = perf_counter()
        self.seconds[phase], self._last = now - self._last, now


def evaluate(
    candidates: Sequence[Candidate],
    judge: Judge,
    *,
    also: Callable[[Candidate, Row], Row] = lambda _, row: row,
) -> Evaluation:
    """One row for each candidate, in their order.

    `fid`, KID, precision and recall are against the judge's reference, `fid_test` against as many held-out images;
    `fid_teacher` and `tokens_tv` against the teacher's draw, whose own row has there a second draw. `also` may add to
    the rows of others.
    """
    names = [candidate.name for candidate in candidates]
    if len({*names, REAL, REDRAW}) < len(names) + 2:
        raise ValueError(
            f"each candidate needs a name of its own, none of them {REAL!r} or {REDRAW!r}: {names}"
        )
    teacher, baseline = only(candidates, "teacher"), only(candidates, "baseline")
    lap = Laps()
    rows: dict[str, Row] = {}
    yardstick = None
    if teacher is not None:
        yardstick = judge.judged(teacher, teacher.name)
        lap(teacher.name)
        rows[teacher.name] = judge.again(yardstick, teacher, REDRAW).beside(yardstick)
        lap(REDRAW)
    for candidate in candidates:
        if candidate is teacher:
            continue
        found = judge.judged(candidate, candidate.name)
        rows[candidate.name] = also(candidate, found.row if yardstick is None else found.beside(yardstick))
        lap(candidate.name)
    if teacher is not None and baseline is not None:
        ends = rows[baseline.name], rows[teacher.name]
        rows = {name: _with_gaps(row, *ends) for name, row in rows.items()}
    return Evaluation(tuple(rows[name] for name in names), judge.floor, lap.seconds)


def only(candidates: Iterable[Candidate], standing: Standing) -> Candidate | None:
    """The one candidate of that standing, if there is one."""
    found = [candidate for candidate in candidates if candidate.standing == standing]
    if len(found) > 1:
        raise ValueError(f"there is one {standing} at most, not {[candidate.name for candidate in found]}")
    return found[0] if found else None


def _with_gaps(row: Row, baseline: Row, teacher: Row) -> Row:
    return attrs.evolve(
        row,
        gap_real=gap_closed(baseline.fid, row.fid, teacher.fid),
        gap_teacher=gap_closed(baseline.fid_teacher, row.fid_teacher, teacher.fid_teacher),
    )
