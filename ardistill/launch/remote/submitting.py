"""Handing runs to submitit: a job each, or one array for all of them on Slurm."""

import io
import math
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Protocol

from ardistill.config.launching import LauncherConfig
from ardistill.errors import ArdistillError, ConfigError
from ardistill.launch.lock import Holder
from ardistill.launch.remote.traces import Launch
from ardistill.wording import shown

HELD = (signal.SIGUSR2, signal.SIGTERM)
"""Signals that a task of Slurm's begins with held back."""


class LaunchError(ArdistillError):
    """A scheduler takes no job, or a job did not do its work."""

    exit_code = 3


class Work(Protocol):
    """What a job does, in a run's folder. submitit pickles it, and calls `checkpoint` where a job is to start again."""

    def __call__(self, folder: Path) -> object: ...
    def checkpoint(self, folder: Path) -> object: ...


def submit(
    work: Work, folders: Sequence[Path], launcher: LauncherConfig, logs: Path, name: str
) -> list[Launch]:
    """A job for each folder, in order. Raises ConfigError or LaunchError before anything runs.

    `logs` is where submitit keeps its scripts, its pickles and what the jobs print.
    """
    folder = (launcher.folder or logs).absolute()
    if "%" in str(folder):
        raise ConfigError(
            f"{shown(str(folder))} must not hold %, which Slurm replaces; give launcher.folder=DIR"
        )
    told = io.StringIO()  # submitit prints what sbatch complains of before it raises it
    try:
        with redirect_stderr(told):
            if launcher.name == "slurm":
                jobs = _slurm(launcher, folder, name, len(folders)).map_array(work, list(folders))
            else:
                executor = _local(launcher, folder)
                with _apart():
                    jobs = executor.map_array(work, list(folders))
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        lines = (told.getvalue().strip() or str(error)).splitlines() or [type(error).__name__]
        raise LaunchError(f"launcher={launcher.name} takes no job: {lines[-1].strip()}") from error
    return [_launch(launcher.name, job.job_id, folder) for job in jobs]


def _launch(launcher: str, job: str, folder: Path) -> Launch:
    process = Holder.here(int(job)) if launcher == "local" else None
    return Launch(launcher, job, str(folder), process=process)


def notice(launcher: LauncherConfig) -> int:
    """Seconds before its end at which a job is told."""
    return max(1, min(launcher.notice, int(launcher.seconds / 2)))


def _slurm(launcher: LauncherConfig, folder: Path, name: str, n_jobs: int) -> Any:
    from submitit import SlurmExecutor

    words: dict[str, object] = {
        "job_name": name,
        "time": math.ceil(launcher.seconds / 60),
        "signal_delay_s": notice(launcher),
        "nodes": launcher.nodes,
        "ntasks_per_node": launcher.n_tasks,
        "gpus_per_node": launcher.gpus,
        "cpus_per_task": launcher.cpus,
        "mem": None if launcher.memory is None else f"{math.ceil(launcher.memory * 1024)}M",
        "partition": launcher.partition,
        "account": launcher.account,
        "qos": launcher.qos,
        "constraint": launcher.constraint,
        "exclude": launcher.exclude,
        "setup": [launcher.setup] if launcher.setup else None,
        "array_parallelism": launcher.parallel or n_jobs,
        "additional_parameters": {"requeue": True},
        "srun_args": [
            "--kill-on-bad-exit=1",  # the others would wait for a process that is gone
            *([f"--cpus-per-task={launcher.cpus}"] if launcher.cpus else []),  # which srun takes from nobody
        ],
    }
    executor = SlurmExecutor(folder, max_num_timeout=launcher.requeues, python=_patient())
    executor.update_parameters(**{key: value for key, value in words.items() if value is not None})
    return executor


def _patient() -> str:
    """The command that runs a task: Python, to which signals wait until it can answer them.

    Importing takes it a second or more, in which SIGUSR2 would kill it, and SIGTERM make a pre-empted job a failed one.
    The mask outlives exec; `Resume` lifts it.
    """
    held = ", ".join(f"signal.{number.name}" for number in HELD)
    script = f"import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [{held}]); "
    script += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    return shlex.join([sys.executable, "-I", "-S", "-c", script])


def _local(launcher: LauncherConfig, folder: Path) -> Any:
    from submitit import LocalExecutor

    visible = _visible(os.environ)
    if launcher.gpus is not None and launcher.gpus > len(visible):
        raise ConfigError(
            f"launcher.gpus={launcher.gpus}, and this machine shows {len(visible)}; ask for fewer"
        )
    gpus = visible if launcher.gpus is None else visible[: launcher.gpus]
    executor = LocalExecutor(folder, max_num_timeout=launcher.requeues, python=_python(launcher.setup))
    executor.update_parameters(
        timeout_min=launcher.seconds / 60,
        signal_delay_s=notice(launcher),
        tasks_per_node=launcher.n_tasks,
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
