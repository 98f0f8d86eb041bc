"""Handing runs to a launcher's jobs."""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from ardistill.config import Section
from ardistill.config.section import plain
from ardistill.errors import LaunchError, PluginError
from ardistill.launch.remote.traces import Launch
from ardistill.launchers import Launcher, Work
from ardistill.plugins import Registry
from ardistill.wording import message_of


def opened(chosen: Section, registry: Registry) -> Launcher:
    """The launcher that a section names. Raises PluginError where it can't be loaded."""
    return cast(Launcher, registry.load("launcher", chosen.name)(chosen.settings))


def submit(
    works: Sequence[Work], chosen: Section, registry: Registry, logs: Path, name: str
) -> Iterator[Launch]:
    """A job for each, in order, each told as soon as it is handed over. Raises LaunchError where one can't be.

    `logs` is where scripts and what the jobs print may lie.
    """
    settings, n_jobs = plain(chosen.settings), 0
    try:
        for job in opened(chosen, registry).submit(works, logs.absolute(), name):
            n_jobs += 1
            if n_jobs <= len(works):
                yield Launch.of(chosen.name, settings, job)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        told = message_of(error) or type(error).__name__
        raise LaunchError(f"launcher={chosen.name} takes no job: {told}") from error
    if n_jobs != len(works):
        raise PluginError(
            f"launcher {chosen.name} tells of {n_jobs} jobs for {len(works)} runs; its plugin is at fault"
        )
