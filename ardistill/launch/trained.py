"""Opening a finished run: its configuration, its parts, its student."""

from pathlib import Path

import attrs

from ardistill.config import RunConfig, load
from ardistill.launch.folder import CONFIG, STUDENT, existing
from ardistill.launch.parts import Parts, assemble, load_student
from ardistill.plugins import Registry
from ardistill.protocols import Student


@attrs.frozen(eq=False)
class Trained:
    """A run that has its student."""

    config: RunConfig
    parts: Parts
    student: Student


def open_run(folder: Path, registry: Registry) -> Trained:
    """Loads teacher and student of a run folder. Raises RunFolderError where there is no student yet."""
    existing(folder, needs=STUDENT)
    config = load([], folder / CONFIG, registry=registry)
    parts = assemble(config, registry)
    return Trained(config, parts, load_student(folder / STUDENT, parts.teacher, registry))
