"""How runs stand, seen from outside: from their folders, and from their launchers where these can tell."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from ardistill.config import Section, structure_trees
from ardistill.config.families import settings_class
from ardistill.config.launching import LAUNCHERS
from ardistill.errors import ArdistillError
from ardistill.launch import folder as folders
from ardistill.launch.lock import LOCK, holder, left_behind
from ardistill.launch.remote import traces
from ardistill.launch.remote.submitting import opened
from ardistill.launch.remote.traces import Done, Failure, Launch
from ardistill.launchers import Job, JobState
from ardistill.plugins import Registry, discover
from ardistill.wording import message_of, printable

FINISHED, RUNNING, WAITING, STARTING = "finished", "running", "waiting", "starting"
FAILED, CANCELLED, INTERRUPTED, NOT_BEGUN = "failed", "cancelled", "interrupted", "not begun"
MISSING, UNKNOWN = "missing", "unknown"
TO_RESUME = frozenset({FAILED, CANCELLED, INTERRUPTED, NOT_BEGUN, MISSING})
"""States that only another submission changes."""
_OF_JOBS = {"waiting": WAITING, "running": STARTING, "cancelled": CANCELLED, "unknown": UNKNOWN}
"""What a job's state means for a run that no process holds, but for that of one that has ended."""
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


def states(runs: Sequence[Path], registry: Registry | None = None) -> list[State]:
    """Asks each launcher once for all its jobs, before the folders are looked at: a job may end meanwhile."""
    launches = {
        run: launch for run in runs if (launch := traces.read(run, traces.LAUNCH, Launch)) is not None
    }
    left = [run for run in launches if not (run / folders.REPORT).is_file()]
    jobs = _jobs({run: launches[run] for run in left}, registry) if left else {}
    return [_state(run, launches.get(run), jobs.get(run, JobState("ended"))) for run in runs]


def _jobs(launches: Mapping[Path, Launch], registry: Registry | None) -> Mapping[Path, JobState]:
    """How the jobs of runs stand, as the launchers tell that submitted them."""
    registry = discover() if registry is None else registry
    alike: defaultdict[str, list[Path]] = defaultdict(list)
    for run, launch in launches.items():
        alike[json.dumps([launch.launcher, launch.settings], sort_keys=True)].append(run)
    found: dict[Path, JobState] = {}
    for runs in alike.values():
        first = launches[runs[0]]
        told = _told(first.launcher, first.settings, [launches[run].told() for run in runs], registry)
        found.update(zip(runs, told, strict=True))
    return found


def _told(
    name: str, settings: Mapping[str, object], jobs: Sequence[Job], registry: Registry
) -> Sequence[JobState]:
    """What a launcher tells of its jobs. One that is not installed, or fails, costs what it would have told."""
    try:
        cls = settings_class("launcher", name, LAUNCHERS, registry)
        launcher = opened(Section(name, structure_trees([dict(settings)], cls, registry)), registry)
        told = list(launcher.states(jobs))
        if len(told) == len(jobs):
            return told
        reason = f"launcher {name} tells of {len(told)} jobs, and {len(jobs)} were asked for"
    except ArdistillError as error:
        reason = message_of(error)
    except Exception as error:  # whatever a plugin raises
        reason = f"launcher {name} can't tell ({type(error).__name__}: {message_of(error)})"
    return [JobState("unknown", reason)] * len(jobs)


def _state(run: Path, launch: Launch | None, job: JobState) -> State:
    if not (run / folders.CONFIG).is_file():
        return State(MISSING)
    word, note = _stands(run, launch, job)
    return State(word, _progress(run, word), _age(run), "" if launch is None else launch.job, printable(note))


def _stands(run: Path, launch: Launch | None, job: JobState) -> tuple[str, str]:
    """The state, and who or why."""
    if (run / folders.REPORT).is_file():
        return FINISHED, ""
    if held := holder(run):
        return RUNNING, str(held)
    if launch is None:
        return _ended(run, INTERRUPTED if (run / LOCK).exists() else NOT_BEGUN, "")
    if job.word in _OF_JOBS:
        return _OF_JOBS[job.word], job.note
    how = f"ended: {job.note}" if job.note else "is gone"
    return _ended(run, FAILED, f"job {launch.job} {how}{_last_words(launch)}")


def _ended(run: Path, otherwise: str, note: str) -> tuple[str, str]:
    """Of a run that nothing works on any more."""
    if failure := traces.read(run, traces.FAILURE, Failure):
        return FAILED, failure.error
    if killed := left_behind(run):
        return FAILED, f"{killed} was killed{f'; {note}' if note else ''}"
    return otherwise, note


def _last_words(launch: Launch) -> str:
    """The last line of the job's log, srun's own after all others."""
    try:
        log = Path(launch.log)
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
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


def ended(runs: Sequence[Path], registry: Registry, *, pause: float) -> list[State]:
    """Waits until each run is finished or failed, and tells which."""
    agreed = 0
    while True:
        found = states(runs, registry)
        if all(state.word == FINISHED for state in found):
            return found
        agreed = agreed + 1 if all(state.word in {FINISHED, *TO_RESUME} for state in found) else 0
        if agreed == _LOOKS:
            return found
        time.sleep(pause)
