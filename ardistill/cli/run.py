"""Distil a teacher into a one-step student, evaluate it, and write the report.

    python -m ardistill run method=dd2 teacher=var
    python -m ardistill run method=dd2 teacher=var out=DIR seed=1 method.alpha=1.2
    python -m ardistill run --config DIR/config.toml out=OTHER      repeats a run
    python -m ardistill run resume=DIR                              goes on with an interrupted one
    python -m ardistill run method=dd2 teacher=var launcher=slurm launcher.gpus=8 launcher.time=24h
    python -m ardistill run resume=DIR launcher=slurm               hands it to Slurm again

quick=true is a look in a minute or two, far from trained. The run folder holds config.toml, checkpoints/, what the
method keeps (tuning.safetensors), preparing.json (the seconds that took), student.safetensors, metrics.jsonl,
tensorboard/, samples.png, report.json and report.html; with eval.every, best.safetensors.

launcher=local and launcher=slurm hand the run to a process of its own, and return; launcher.wait=true stays until it
has ended. Its logs lie in the folder's launch/. What runs out of time, or is pre-empted, is requeued and goes on from
its last checkpoint. Other launchers are plugins: python -m ardistill plugins
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ardistill.cli import take_option
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import RunConfig, dump_toml, load
from ardistill.config.launching import HERE
from ardistill.config.section import absolute
from ardistill.errors import ConfigError
from ardistill.launch import folder as folders
from ardistill.launch.lock import locked
from ardistill.launch.remote.traces import Recorded, failure_told
from ardistill.plugins import Registry, discover

if TYPE_CHECKING:
    from ardistill.evaluation.report import Report  # which imports torch
    from ardistill.launch.distil import Job

SUMMARY = "distil a teacher into a one-step student, evaluate it, write the report"


def main(words: list[str]) -> int:
    registry = discover()
    resumed = next((word.partition("=")[2] for word in words if word.startswith("resume=")), None)
    if resumed is not None:
        others = [word for word in words if not word.startswith("resume=")]
        return _go_on(Path(resumed), others, registry)
    config = _configured(words, registry)
    out = config.out or folders.free_folder(Path("runs"), _folder_name(config))
    config = absolute(attrs.evolve(config, out=out))
    if config.launcher.name == HERE:
        show(out, start(config, out, registry, words))
        return 0
    from ardistill.cli.handing import hand_over

    return hand_over(config, out, registry, new=True)


def start(config: RunConfig, out: Path, registry: Registry, words: Sequence[str]) -> "Report | None":
    """A new run, in this process. What can be refused is refused before the folder is made.

    Returns None in all but the first of several processes that train together.
    """
    job = _assembled(config, out, registry)
    if _first():
        folders.create(out, dump_toml(config))
    with _held(out), shown_progress() as progress:
        return job.run(Recorded(progress, out), shlex.join(["python", "-m", "ardistill", "run", *words]))


def resume(out: Path) -> "Report | None":
    """Goes on with a run in this process, whatever launcher it is configured with, installed or not.

    One that is finished is read.

    Returns None in all but the first of several processes that train together.
    """
    # torch is imported only once the words make sense.
    registry = discover()
    config = load([f"launcher={HERE}"], folders.existing(out) / folders.CONFIG, registry=registry)
    from ardistill.evaluation.report import Report

    if (out / folders.REPORT).is_file():
        with locked(out) if _first() else nullcontext():
            return Report.load(out / folders.REPORT)
    with _held(out):
        job = _assembled(config, out, registry)
        with shown_progress() as progress:
            words = shlex.join(["python", "-m", "ardistill", "run", f"resume={out}"])
            return job.run(Recorded(progress, out), words)


def show(out: Path, report: "Report | None", *, finished: bool = False) -> None:
    """The table, and where the files are, or that nothing was left to do; nothing in a process that has no report."""
    if report is None:
        return
    from ardistill.evaluation.tables.table import cost_lines, print_table

    print_table(report.rows)
    for line in cost_lines(report):
        print(line)
    if finished:
        print(f"\n{out} is finished; evaluate it anew with: python -m ardistill eval run={out}")
    else:
        print(f"\n{out / folders.PICTURE}\n{out / folders.REPORT}\n{out / folders.PAGE}")


def _go_on(out: Path, words: list[str], registry: Registry) -> int:
    """With an interrupted run: here, unless words about the launcher say otherwise."""
    if any(not word.startswith(("launcher=", "launcher.")) for word in words):
        raise ConfigError(
            "resume=DIR takes no other words but the launcher's: a run goes on as it was configured"
        )
    config = load(words or [f"launcher={HERE}"], folders.existing(out) / folders.CONFIG, registry=registry)
    finished = (out / folders.REPORT).is_file()
    if config.launcher.name != HERE and not finished:
        from ardistill.cli.handing import hand_over

        return hand_over(config, out.absolute(), registry, new=False)
    show(out, resume(out), finished=finished)
    return 0


def _assembled(config: RunConfig, out: Path, registry: Registry) -> "Job":
    from ardistill.launch.distil import Job
    from ardistill.weights import reporting

    with shown_progress() as progress, reporting(progress):
        return Job.of(config, out, registry, progress)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """The folder is this process's, or the first's of several that train together; a failure leaves its record."""
    if not _first():
        yield
        return
    with locked(out), failure_told(out):
        yield


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _folder_name(config: RunConfig) -> str:
    return folders.safe_name(f"{config.method.name}-{config.teacher.name}")


def _configured(words: list[str], registry: Registry) -> RunConfig:
    """Words, over those of a `--config FILE` if there is one."""
    file, words = take_option(words, "--config")
    if file is None:
        return load(words, registry=registry)
    if not any(word.startswith("out=") for word in words):
        words = [*words, "out=none"]  # the file names the folder it was made for; the repeat gets its own
    return load(words, Path(file), registry=registry)
