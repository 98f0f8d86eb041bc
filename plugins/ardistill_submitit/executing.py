"""What both launchers do with submitit's executors."""

import io
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from ardistill.errors import LaunchError
from ardistill.launchers import Job


@contextmanager
def complaints_told(launcher: str) -> Iterator[None]:
    """What goes wrong within the block is a LaunchError, the last line of what the scheduler or the exception says."""
    told = io.StringIO()  # submitit prints what sbatch complains of before it raises it
    try:
        with redirect_stderr(told):
            yield
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        lines = (told.getvalue().strip() or str(error)).splitlines() or [type(error).__name__]
        raise LaunchError(f"launcher={launcher} takes no job: {lines[-1].strip()}") from error


def log_of(folder: Path, job: str) -> str:
    """What the first of a job's tasks has written to stderr, all its lives in one file."""
    return str(folder / f"{job}_0_log.err")


def has_ended(job: Job) -> bool:
    """Whether submitit has recorded an end. The record is a pickle, and is not opened."""
    return Path(job.log).with_name(f"{job.id}_0_result.pkl").exists() if job.log else False
