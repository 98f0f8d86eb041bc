"""Refusing what can't work before a job is handed over, on the machine that hands it over."""

import json
from pathlib import Path

import attrs

from ardistill.config import RunConfig
from ardistill.config.section import plain
from ardistill.launch.distil import Job
from ardistill.launch.parts import assemble
from ardistill.plugins import Registry
from ardistill.protocols import Progress


def check(config: RunConfig, folder: Path, registry: Registry, progress: Progress) -> None:
    """Puts a run together on the CPU, and lets go of it. Raises what the run itself would.

    A folder of images to measure against is left to the job, since its features take long.
    """
    here = attrs.evolve(config, device="cpu")
    reference = config.eval.reference
    if reference is not None and reference.is_dir():
        assemble(here, registry)
    else:
        Job.of(here, folder, registry, progress)


def alike(config: RunConfig) -> str:
    """The same for configurations that are refused or not together: seed, folder and launcher play no part."""
    told = plain(config)
    return json.dumps(
        {key: told[key] for key in told if key not in ("seed", "out", "launcher")}, sort_keys=True
    )
