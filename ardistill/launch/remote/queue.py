"""What Slurm's queue says of jobs. squeue answers also where there is no accounting, and sacct does not."""

import subprocess
from collections.abc import Mapping

import attrs

_SECONDS = 20
_LIVE = frozenset({
    "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
    "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "RESV_DEL_HOLD", "PREEMPTED",
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
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r"]
    try:
        told = subprocess.run(  # noqa: S603  # no word of it is a user's
            command, capture_output=True, text=True, timeout=_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.strip().split("|", 2) for line in told.splitlines()]
    return {line[0]: Queued(line[1], line[2]) for line in lines if len(line) == 3}
