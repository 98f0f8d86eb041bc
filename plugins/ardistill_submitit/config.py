"""The words of `launcher=local` and `launcher=slurm`; imports no torch."""

import re
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import ge, gt, optional

from ardistill.config.launching import LauncherConfig

_TIME = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)", re.ASCII)
_SECONDS = {"s": 1, "": 60, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = 365 * 86_400


@attrs.frozen
class JobsConfig(LauncherConfig):
    """What both are told."""

    time: int | str = attrs.field(default="24h")
    """How long a job may take at once: minutes, or 90s, 90m, 24h, 3d. What does not suffice is requeued."""
    requeues: int = attrs.field(default=100, validator=ge(0))
    """How often a job that ran out of time starts again; one that was pre-empted always does."""
    notice: int = attrs.field(default=90, validator=ge(1))
    """Seconds before its end at which a job is told; half of its time at most."""
    gpus: int | None = attrs.field(default=None, validator=optional(ge(0)))
    """Of each node; without, Slurm gives none, and launcher=local those that are seen here."""
    tasks: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Processes on each node; without, one for each GPU asked for."""
    setup: str = ""
    """Shell lines before the run, e.g. `module load cuda; export X=1`."""
    parallel: int = attrs.field(default=0, validator=ge(0))
    """Cells of a sweep that run at once; 0 is all."""
    folder: Path | None = attrs.field(default=None)
    """Where scripts and logs of the job lie; without, the folder `launch` of the run or the sweep."""

    @time.validator
    def _duration(self, _: "attrs.Attribute[Any]", time: int | str) -> None:
        if not 1 <= self.seconds <= _LONGEST:
            told = str(time)[:60]
            raise ValueError(
                f"time must be minutes, or such as 90s, 90m, 24h or 3d, up to a year, not {told!r}"
            )

    @folder.validator
    def _plain(self, _: "attrs.Attribute[Any]", folder: Path | None) -> None:
        if folder is not None and "%" in str(folder):
            raise ValueError("folder must not hold %, which Slurm replaces; give another")

    @property
    def seconds(self) -> float:
        """`time` in seconds; 0 where it is no time."""
        found = _TIME.fullmatch(str(self.time))
        return float(found[1]) * _SECONDS[found[2]] if found else 0.0

    @property
    def told_before(self) -> int:
        """Seconds before its end at which a job is told."""
        return max(1, min(self.notice, int(self.seconds / 2)))

    @property
    def n_tasks(self) -> int:
        """On each node."""
        return self.tasks or max(1, self.gpus or 1)


@attrs.frozen
class LocalConfig(JobsConfig):
    """In a process of its own on this machine. With `parallel`, a sweep stays until its last cell has begun."""


@attrs.frozen
class SlurmConfig(JobsConfig):
    """In a job of Slurm."""

    nodes: int = attrs.field(default=1, validator=ge(1))
    cpus: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Of each process."""
    memory: float | None = attrs.field(default=None, validator=optional(gt(0.0)))
    """GiB of each node."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    """Nodes to stay away from."""
