"""What Slurm's queue says of jobs. squeue answers also where there is no accounting, and sacct does not."""

import subprocess
from collections.abc import Mapping

import attrs

_SECONDS = 20
_LIVE = frozenset({
    "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
    "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "RESV_DEL_HOLD",
})  # fmt: skip


@attrs.frozen
class Queued:
    """A job's state in Slurm's words, and its reason for it."""

    state: str
    reason: str

    @property
    def live(self) -> bool:
        """Whether it runs or is going to."""
        return self.state in _LIVE


def queued() -> Mapping[str, Queued] | None:
    """The jobs of this user, those too that ended lately; None where nobody answers."""
    told = _squeue("--me", "--array", "--states=all", "--format=%i|%T|%r")
    if told is None:
        return None
    lines = [line.strip().split("|", 2) for line in told.splitlines()]
    return {line[0]: Queued(line[1], line[2]) for line in lines if len(line) == 3}


def making_room(job: str) -> bool:
    """Whether a job runs for no longer than the time that pre-emption grants it to leave.

    It is not when it was cancelled, which its processes are told by the same SIGTERM.
    """
    told = _squeue(f"--jobs={job}", "--Format=State,PreemptTime")
    return told is not None and told.split()[:1] == ["RUNNING"] and told.split()[1:] != ["N/A"]


def _squeue(*words: str) -> str | None:
    """What squeue says; None where there is none, or it fails."""
    try:
        return subprocess.run(  # noqa: S603  # no word of it is a user's
            ["squeue", "--noheader", *words],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
