"""Runs as jobs of Slurm."""

import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ardistill.errors import ConfigError
from ardistill.launchers import Job, JobState, Work
from ardistill.wording import shown
from ardistill_submitit.config import SlurmConfig
from ardistill_submitit.executing import complaints_told, has_ended, log_of
from ardistill_submitit.queue import Queued, queued
from ardistill_submitit.work import HELD, Requeued


class Slurm:
    """All runs that are submitted together are one array of jobs."""

    pause = 15.0

    def __init__(self, config: SlurmConfig) -> None:
        self._config = config

    def submit(self, works: Sequence[Work], folder: Path, name: str) -> Iterator[Job]:
        folder = (self._config.folder or folder).absolute()
        if "%" in str(folder):
            raise ConfigError(
                f"{shown(str(folder))} must not hold %, which Slurm replaces; give launcher.folder=DIR"
            )
        with complaints_told("slurm"):
            jobs = _executor(self._config, folder, name, len(works)).map_array(Requeued(), list(works))
        for job in jobs:
            yield Job(job.job_id, log_of(folder, job.job_id))

    def states(self, jobs: Sequence[Job]) -> list[JobState]:
        """Asks the queue once."""
        queue = queued()
        return [_state(job, queue) for job in jobs]


def _state(job: Job, queue: Mapping[str, Queued] | None) -> JobState:
    if queue is None:
        return JobState("ended") if has_ended(job) else JobState("unknown", "squeue does not answer")
    found = queue.get(job.id)
    if found is None:
        # Slurm keeps no record of an array's jobs that are cancelled while they wait.
        return JobState("ended" if Path(job.log).exists() else "cancelled")
    if found.state == "RUNNING":
        return JobState("running")
    if found.live:
        return JobState("waiting", f"{found.state.lower()}: {found.reason}")
    if found.state == "CANCELLED":
        return JobState("cancelled")
    return JobState("ended", f"{found.state.lower()}, {found.reason}")


def _executor(config: SlurmConfig, folder: Path, name: str, n_jobs: int) -> Any:
    from submitit import SlurmExecutor

    words: dict[str, object] = {
        "job_name": name,
        "time": math.ceil(config.seconds / 60),
        "signal_delay_s": config.told_before,
        "nodes": config.nodes,
        "ntasks_per_node": config.n_tasks,
        "gpus_per_node": config.gpus,
        "cpus_per_task": config.cpus,
        "mem": None if config.memory is None else f"{math.ceil(config.memory * 1024)}M",
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "exclude": config.exclude,
        "setup": [config.setup] if config.setup else None,
        "array_parallelism": config.parallel or n_jobs,
        "additional_parameters": {"requeue": True},
        "srun_args": [
            "--kill-on-bad-exit=1",  # the others would wait for a process that is gone
            *([f"--cpus-per-task={config.cpus}"] if config.cpus else []),  # which srun takes from nobody
        ],
    }
    executor = SlurmExecutor(folder, max_num_timeout=config.requeues, python=_patient())
    executor.update_parameters(**{key: value for key, value in words.items() if value is not None})
    return executor


def _patient() -> str:
    """The command that runs a task: Python, to which signals wait until it can answer them.

    Importing takes it a second or more, in which SIGUSR2 would kill it, and SIGTERM make a pre-empted job a failed one.
    The mask outlives exec; `Requeued` lifts it.
    """
    held = ", ".join(f"signal.{number.name}" for number in HELD)
    script = f"import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [{held}]); "
    script += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    return shlex.join([sys.executable, "-I", "-S", "-c", script])
