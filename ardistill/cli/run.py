"""Distil a teacher into a one-step student, evaluate it, and write the report.

    python -m ardistill run method=dd2 teacher=var
    python -m ardistill run method=dd2 teacher=var out=DIR seed=1 method.alpha=1.2
    python -m ardistill run --config DIR/config.toml out=OTHER      repeats a run
    python -m ardistill run resume=DIR                              goes on with an interrupted one

quick=true is a look in a minute or two, far from trained. The run folder holds config.toml, checkpoints/, what the
method keeps (tuning.safetensors), preparing.json (the seconds that took), student.safetensors, metrics.jsonl,
tensorboard/, samples.png, report.json and report.html; with eval.every, best.safetensors.
"""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ardistill.cli import take_option
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import RunConfig, dump_toml, load
from ardistill.config.section import absolute
from ardistill.errors import ConfigError
from ardistill.launch import folder as folders
from ardistill.plugins import Registry, discover

if TYPE_CHECKING:
    from ardistill.evaluation.report import Report  # which imports torch

SUMMARY = "distil a teacher into a one-step student, evaluate it, write the report"


def main(words: list[str]) -> int:
    registry = discover()
    resumed = next((word.partition("=")[2] for word in words if word.startswith("resume=")), None)
    if resumed is not None:
        if len(words) > 1:
            raise ConfigError("resume=DIR takes no other words: a run goes on as it was configured")
        out = folders.existing(Path(resumed))
        config = load([], out / folders.CONFIG, registry=registry)
    else:
        config = _configured(words, registry)
        out = config.out or folders.free_folder(Path("runs"), _folder_name(config))
        config = absolute(attrs.evolve(config, out=out))

    # torch is imported only once the words make sense.
    from ardistill.evaluation.report import Report
    from ardistill.launch.distil import Job
    from ardistill.weights import reporting

    report_file = out / folders.REPORT
    if resumed is not None and report_file.is_file():
        with folders.locked(out):
            _show(Report.load(report_file))
        print(f"\n{out} is finished; evaluate it anew with: python -m ardistill eval run={out}")
        return 0
    with shown_progress() as progress, reporting(progress):
        job = Job.of(config, out, registry, progress)
    if resumed is None:
        folders.create(out, dump_toml(config))
    with folders.locked(out), shown_progress() as progress:
        command = shlex.join(["python", "-m", "ardistill", "run", *words])
        report = job.run(progress, command)
    _show(report)
    print(f"\n{out / folders.PICTURE}\n{report_file}\n{out / folders.PAGE}")
    return 0


def _show(report: "Report") -> None:
    from ardistill.evaluation.tables.table import cost_lines, print_table

    print_table(report.rows)
    for line in cost_lines(report):
        print(line)


def _folder_name(config: RunConfig) -> str:
    """Method and teacher, without what a shell would expand."""
    return re.sub(r"[^\w.+-]", "", f"{config.method.name}-{config.teacher.name}")


def _configured(words: list[str], registry: Registry) -> RunConfig:
    """Words, over those of a `--config FILE` if there is one."""
    file, words = take_option(words, "--config")
    if file is None:
        return load(words, registry=registry)
    if not any(word.startswith("out=") for word in words):
        words = [*words, "out=none"]  # the file names the folder it was made for; the repeat gets its own
    return load(words, Path(file), registry=registry)
