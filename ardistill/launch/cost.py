"""What making a student costs: seconds and how much a second, over all sessions of a run.

The phases' seconds are in the checkpoints; those of `prepare`, which comes before the first one, in preparing.json.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
import cattrs

from ardistill.evaluation.report import PREPARING
from ardistill.files import json_text, write_atomic
from ardistill.protocols import Phase, Progress
from ardistill.training.loop import images_taken

_SAVED_EVERY = 2.0
"""Seconds between two writings of the record; a kill loses these and what passed since the last report."""


@attrs.define
class _Work:
    """How much of one thing (pairs, teacher samples) there is, and the seconds it took."""

    done: int = 0
    seconds: float = 0.0


@attrs.define
class _Record:
    seconds: float = 0.0
    work: dict[str, _Work] = attrs.Factory(dict)


def _read(path: Path) -> _Record:
    """An earlier session's record. One that is missing or damaged costs a figure, and no run."""
    try:
        return cattrs.structure(json.loads(path.read_text()), _Record)
    except Exception:  # whatever a damaged file makes its reader raise
        return _Record()


class Preparing:
    """Stands around a method's `prepare`, as the `Progress` it reports to; goes on from an earlier session's record.

    What `prepare` finds done and does not report keeps the time that it took when it was made.
    """

    def __init__(
        self, path: Path, progress: Progress, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._path, self._progress, self._clock = path, progress, clock
        self._record = _read(path)
        self._last = self._saved = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._lap()
        self._save()

    def advance(self, done: int, total: int, what: str) -> None:
        passed = self._lap()
        work = self._record.work.setdefault(what, _Work())
        if done < work.done:  # it is made anew
            work.seconds = 0.0
        work.done, work.seconds = done, work.seconds + passed
        if self._last - self._saved >= _SAVED_EVERY:
            self._save()
        self._progress.advance(done, total, what)

    @property
    def seconds(self) -> float:
        """Of all sessions."""
        return self._record.seconds

    def rates(self) -> Mapping[str, float]:
        """How many a second, by what was made."""
        work = self._record.work.items()
        return {what: each.done / each.seconds for what, each in work if each.seconds > 0}

    def _lap(self) -> float:
        now = self._clock()
        passed, self._last = now - self._last, now
        self._record.seconds += passed
        return passed

    def _save(self) -> None:
        write_atomic(self._path, json_text(attrs.asdict(self._record)))
        self._saved = self._last


@attrs.frozen
class Cost:
    """What a run's training took: wall seconds, and how much a second, by the names that a report has for it."""

    seconds: Mapping[str, float] = attrs.field(factory=dict)
    throughput: Mapping[str, float] = attrs.field(factory=dict)

    @classmethod
    def of(
        cls,
        preparing: float,
        prepared: Mapping[str, float],
        trained: Mapping[str, float],
        phases: Sequence[Phase],
    ) -> "Cost":
        """From the seconds of preparing, what it made a second, and the seconds of each phase."""
        made = {f"{PREPARING} {what}": rate for what, rate in prepared.items()}
        rates = {
            phase.name: images_taken(phase) / trained[phase.name]
            for phase in phases
            if trained.get(phase.name, 0) > 0
        }
        return cls({PREPARING: preparing, **trained}, {**made, **rates})
