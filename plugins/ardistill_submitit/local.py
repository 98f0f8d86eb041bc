"""Runs as processes of this machine, which submitit watches over: each has a time, and starts again when it is over."""

import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ardistill.errors import ConfigError
from ardistill.launchers import Job, JobState, Work
from ardistill.processes import Process
from ardistill.wording import shown
from ardistill_submitit.config import LocalConfig
from ardistill_submitit.executing import complaints_told, log_of
from ardistill_submitit.work import Requeued


class Local:
    """A job is the process that watches over the run's."""

    pause = 0.5

    def __init__(self, config: LocalConfig) -> None:
        self._config = config

    def submit(self, works: Sequence[Work], folder: Path, name: str) -> Iterator[Job]:
        """So many at once as `parallel` says, the next when one has ended."""
        del name
        folder = (self._config.folder or folder).absolute()
        with complaints_told("local"):
            executor = _executor(self._config, folder)
        at_once: list[Any] = []
        for work in works:
            while len(at_once := [job for job in at_once if not job.done()]) >= (
                self._config.parallel or len(works)
            ):
                time.sleep(self.pause)
            with complaints_told("local"), _apart():
                job = executor.submit(Requeued(), work)
            at_once.append(job)
            yield Job(job.job_id, log_of(folder, job.job_id), Process.here(int(job.job_id)))

    def states(self, jobs: Sequence[Job]) -> list[JobState]:
        return [
            JobState("running" if job.process is not None and job.process.alive() else "ended")
            for job in jobs
        ]


def _executor(config: LocalConfig, folder: Path) -> Any:
    from submitit import LocalExecutor

    visible = _visible(os.environ)
    if config.gpus is not None and config.gpus > len(visible):
        raise ConfigError(
            f"launcher.gpus={config.gpus}, and this machine shows {len(visible)}; ask for fewer"
        )
    gpus = visible if config.gpus is None else visible[: config.gpus]
    executor = LocalExecutor(folder, max_num_timeout=config.requeues, python=_python(config.setup))
    executor.update_parameters(
        timeout_min=config.seconds / 60,
        signal_delay_s=config.told_before,
        tasks_per_node=config.n_tasks,
        gpus_per_node=len(gpus),
        visible_gpus=gpus,
    )
    return executor


@contextmanager
def _apart() -> Iterator[None]:
    """What is started within the block shares no terminal and no pipe with us: whoever reads ours must see its end."""
    with Path(os.devnull).open("r+b") as nowhere:
        kept = [os.dup(descriptor) for descriptor in (0, 1, 2)]
        try:
            for descriptor in (0, 1, 2):
                os.dup2(nowhere.fileno(), descriptor)
            yield
        finally:
            for descriptor, before in enumerate(kept):
                os.dup2(before, descriptor)
                os.close(before)


def _visible(environment: Mapping[str, str]) -> tuple[int, ...]:
    """The numbers of the GPUs that this process may use."""
    import torch

    named = environment.get("CUDA_VISIBLE_DEVICES")
    if not named:
        return () if named == "" else tuple(range(torch.cuda.device_count()))
    try:
        return tuple(int(number) for number in named.split(","))
    except ValueError as error:
        raise ConfigError(
            f"CUDA_VISIBLE_DEVICES={shown(named)} names no GPUs by number, as launcher=local needs; set it so"
        ) from error


def _python(setup: str) -> str:
    """The command that runs a task. The shell of a setup gives its place, and so its signals, to Python."""
    if not setup:
        return shlex.quote(sys.executable)
    script = f'set -e\n{setup}\nexec {shlex.quote(sys.executable)} "$@"'
    return shlex.join(["sh", "-c", script, "sh"])
