"""What a launcher promises: it hands runs to jobs of its own, and tells how these stand. No torch here.

A launcher is a plugin's object, made of its settings wherever a job is submitted or looked at: it holds nothing that a
`Job` does not tell. Nothing else is asked of it: what a run is at, whether it is finished and why it failed is read
from the run's folder.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args

import attrs

from ardistill.processes import Process

INTERRUPTED = 75
"""The exit code of a run that a signal stopped (SIGUSR2, SIGTERM, SIGINT): the same command goes on where it stands."""


@attrs.frozen
class Job:
    """A job, as its launcher knows it again from another process, on another day."""

    id: str
    """What people call it by, and the scheduler."""
    log: str = ""
    """The file that its first process writes its errors to; "" where there is none."""
    process: Process | None = None
    """What it is on this machine, for a launcher without a scheduler to ask."""


JobWord = Literal["waiting", "running", "cancelled", "ended", "unknown"]


@attrs.frozen
class JobState:
    """How a job stands: waiting or running (or about to), cancelled, ended however that was, or nobody can tell.

    `note` says why it waits, how it ended ("failed, out of memory"; "" where it is merely gone) or why it is unknown.
    """

    word: JobWord = attrs.field(validator=attrs.validators.in_(get_args(JobWord)))
    note: str = ""


class Work(Protocol):
    """A run that lies in its folder, to be begun or gone on with. It can be pickled.

    Several processes that are told RANK, WORLD_SIZE and the others as torchrun tells them train together.
    """

    @property
    def folder(self) -> Path:
        """The run's, absolute."""
        ...

    @property
    def command(self) -> tuple[str, ...]:
        """What does it in a process of its own. Exit code 75 (`INTERRUPTED`) asks for the same command again."""
        ...

    def __call__(self) -> None:
        """Does it in this process. Raises an ArdistillError whose `exit_code` is 75 where a signal stopped it."""
        ...

    def failed(self, error: Exception) -> None:
        """Leaves in the run's folder why nothing will go on with it."""
        ...


class Launcher(Protocol):
    """Hands runs to jobs. Its settings derive from `ardistill.config.launching.LauncherConfig`."""

    @property
    def pause(self) -> float:
        """Seconds between two looks at jobs that are waited for."""
        ...

    def submit(self, works: Sequence[Work], folder: Path, name: str) -> Iterable[Job]:
        """A job for each, in order, each told as soon as it is handed over.

        `folder` is where scripts and logs may lie; it need not exist. `name` is fit for a job. Raises LaunchError where
        the scheduler takes no job; an OSError, RuntimeError or SubprocessError is told as one.
        """
        ...

    def states(self, jobs: Sequence[Job]) -> Sequence[JobState]:
        """How jobs stand that this launcher has submitted under the same settings, in order."""
        ...
