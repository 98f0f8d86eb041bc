"""What a run leaves in its folder for those who look at it from outside.

launch.json says which job it was handed to, failure.json why it failed, progress.json what it is at.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import cattrs

from ardistill.errors import ArdistillError
from ardistill.files import json_text, write_atomic
from ardistill.launchers import INTERRUPTED, Job
from ardistill.processes import Process
from ardistill.wording import message_of, printable

if TYPE_CHECKING:
    from ardistill.protocols import Progress  # which imports torch

LAUNCH, FAILURE, PROGRESS = "launch.json", "failure.json", "progress.json"
_EVERY = 5.0
"""Seconds between two records of progress."""

T = TypeVar("T")


@attrs.frozen
class Launch:
    """The job a run was handed to, and the launcher that knows it: its name and its settings, as TOML has them."""

    launcher: str
    job: str
    log: str = ""
    submitted: str = attrs.field(factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    process: Process | None = None
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, launcher: str, settings: Mapping[str, Any], job: Job) -> "Launch":
        return cls(launcher, job.id, job.log, process=job.process, settings=settings)

    def told(self) -> Job:
        """The job, as the launcher told it."""
        return Job(self.job, self.log, self.process)


@attrs.frozen
class Failure:
    """Why a run failed, in one line."""

    error: str
    at: str = attrs.field(factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@attrs.frozen
class Done:
    """The work a run is at, and how far."""

    what: str
    done: int
    total: int


def write(folder: Path, name: str, record: "attrs.AttrsInstance") -> None:
    write_atomic(folder / name, json_text(attrs.asdict(record)))


def read(folder: Path, name: str, cls: type[T]) -> T | None:
    """The record, or None where there is none, or a damaged one."""
    try:
        return cattrs.structure(json.loads((folder / name).read_text("utf-8")), cls)
    except Exception:  # whatever a damaged file makes its reader raise
        return None


@contextmanager
def failure_told(folder: Path) -> Iterator[None]:
    """A failure within the block leaves its record in the folder; one of an earlier attempt goes."""
    (folder / FAILURE).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if not (isinstance(error, ArdistillError) and error.exit_code == INTERRUPTED):
            tell_failure(folder, error)
        raise


def tell_failure(folder: Path, error: Exception) -> None:
    """Leaves the record of a failure."""
    kind = "" if isinstance(error, ArdistillError) else f"{type(error).__name__}: "
    with suppress(OSError):  # a disk that is full, say: the error itself is what counts
        write(folder, FAILURE, Failure(printable(f"{kind}{message_of(error)}")))


class Recorded:
    """Progress as told to `inner`, and now and then to progress.json, whose loss would cost nothing."""

    def __init__(self, inner: "Progress", folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self._wrote = 0.0
        self._what = ""

    def advance(self, done: int, total: int, what: str) -> None:
        self._inner.advance(done, total, what)
        now = time.monotonic()
        if what != self._what or now - self._wrote >= _EVERY:
            self._what, self._wrote = what, now
            with suppress(OSError):
                write(self._folder, PROGRESS, Done(what, done, total))
