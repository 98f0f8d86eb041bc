"""How runs stand, seen from outside: from their folders, and from the queue where it answers."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from ardistill.launch import folder as folders
from ardistill.launch.lock import LOCK, holder, left_behind
from ardistill.launch.remote import traces
from ardistill.launch.remote.queue import Queued, queued
from ardistill.launch.remote.traces import Done, Failure, Launch
from ardistill.wording import printable

FINISHED, RUNNING, WAITING, STARTING = "finished", "running", "waiting", "starting"
FAILED, CANCELLED, INTERRUPTED, NOT_BEGUN = "failed", "cancelled", "interrupted", "not begun"
MISSING, UNKNOWN = "missing", "unknown"
TO_RESUME = frozenset({FAILED, CANCELLED, INTERRUPTED, NOT_BEGUN, MISSING})
"""States that only another submission changes."""
_TAIL = 4096
_LOOKS = 2
"""Looks in a row that must agree on an end: what a job wrote last may take a moment to be seen here."""


@attrs.frozen
class State:
    """A run's state. `age` is of its newest checkpoint in seconds, None without one; `note` says who, or why."""

    word: str
    progress: str = ""
    age: float | None = None
    job: str = ""
    note: str = ""


def states(runs: Sequence[Path]) -> list[State]:
    """Asks the queue once, if any of them is Slurm's."""
    launches = [traces.read(run, traces.LAUNCH, Launch) for run in runs]
    slurm = any(launch is not None and launch.launcher == "slurm" for launch in launches)
    queue = queued() if slurm else {}
    return [_state(run, launch, queue) for run, launch in zip(runs, launches, strict=True)]


def _state(run: Path, launch: Launch | None, queue: Mapping[str, Queued] | None) -> State:
    if not (run / folders.CONFIG).is_file():
        return State(MISSING)
    word, note = _stands(run, launch, queue)
    return State(word, _progress(run, word), _age(run), "" if launch is None else launch.job, printable(note))


def _stands(run: Path, launch: Launch | None, queue: Mapping[str, Queued] | None) -> tuple[str, str]:
    """The state, and who or why."""
    if (run / folders.REPORT).is_file():
        return FINISHED, ""
    if held := holder(run):
        return RUNNING, str(held)
    if launch is None:
        return _ended(run, INTERRUPTED if (run / LOCK).exists() else NOT_BEGUN, "")
    return _handed_over(run, launch, queue)


def _handed_over(run: Path, launch: Launch, queue: Mapping[str, Queued] | None) -> tuple[str, str]:
    """Of a run that was handed over, and that no process holds."""
    found = _in_queue(launch, queue)
    if found is not None and found.live:
        waits = found.state != "RUNNING"
        return WAITING if waits else STARTING, f"{found.state.lower()}: {found.reason}" if waits else ""
    if launch.launcher == "slurm" and queue is None and not launch.ended:
        return UNKNOWN, "squeue does not answer"
    if _cancelled(launch, found):
        return CANCELLED, ""
    how = "is gone" if found is None else f"ended: {found.state.lower()}, {found.reason}"
    return _ended(run, FAILED, f"job {launch.job} {how}{_last_words(launch)}")


def _cancelled(launch: Launch, found: Queued | None) -> bool:
    """Of a job that is not going to run. One that the queue has forgotten before it wrote a line was cancelled: Slurm
    keeps no record of an array's jobs that are cancelled while they wait.
    """
    if found is None:
        return launch.launcher == "slurm" and not launch.log().exists()
    return found.state == "CANCELLED"


def _ended(run: Path, otherwise: str, note: str) -> tuple[str, str]:
    """Of a run that nothing works on any more."""
    if failure := traces.read(run, traces.FAILURE, Failure):
        return FAILED, failure.error
    if killed := left_behind(run):
        return FAILED, f"{killed} was killed{f'; {note}' if note else ''}"
    return otherwise, note


def _in_queue(launch: Launch, queue: Mapping[str, Queued] | None) -> Queued | None:
    if launch.process is not None:
        alive = launch.process.alive()
        return Queued("RUNNING", launch.process.host) if alive else None
    return (queue or {}).get(launch.job)


def _last_words(launch: Launch) -> str:
    """The last line of the job's log, srun's own after all others."""
    try:
        with launch.log().open("rb") as file:
            file.seek(max(0, launch.log().stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    lines.sort(key=lambda line: not line.startswith("srun: "))
    return f"; its last words: {lines[-1]}" if lines else ""


def _progress(run: Path, word: str) -> str:
    if word in (FINISHED, NOT_BEGUN):
        return ""
    done = traces.read(run, traces.PROGRESS, Done)
    parts = [] if done is None else [f"{done.what} {done.done:,} of {done.total:,}"]
    images = _images(run / folders.METRICS)
    return ", ".join([*parts, *([f"{images:,} images"] if images else [])])


def _images(metrics: Path) -> int:
    """Images of training that the newest whole record counts."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - _TAIL))
            for line in reversed(file.read().splitlines()):
                try:
                    return int(json.loads(line)["images"])
                except (ValueError, KeyError, TypeError):
                    continue
    except OSError:
        pass
    return 0


def _age(run: Path) -> float | None:
    try:
        times = [
            path.stat().st_mtime for path in (run / folders.CHECKPOINTS).iterdir() if path.name[:1] != "."
        ]
    except OSError:
        return None
    return max(0.0, time.time() - max(times)) if times else None


def ended(runs: Sequence[Path], *, pause: float) -> list[State]:
    """Waits until each run is finished or failed, and tells which."""
    agreed = 0
    while True:
        found = states(runs)
        if all(state.word == FINISHED for state in found):
            return found
        agreed = agreed + 1 if all(state.word in {FINISHED, *TO_RESUME} for state in found) else 0
        if agreed == _LOOKS:
            return found
        time.sleep(pause)
