"""Opening what has been trained: a run's folder, or a teacher and a student named by words."""

from pathlib import Path

import attrs

from ardistill.config import EvalConfig, RunConfig, StudentWords, load
from ardistill.config.section import plain
from ardistill.launch.assess import Judging
from ardistill.launch.folder import CONFIG, STUDENT, existing
from ardistill.launch.parts import Parts, assemble, judged, load_models, load_student
from ardistill.plugins import Registry
from ardistill.protocols import Student


@attrs.frozen(eq=False)
class Trained:
    """A student with its teacher and what judges it."""

    parts: Parts
    student: Student
    judging: Judging


def open_run(folder: Path, registry: Registry) -> Trained:
    """Loads teacher and student of a run folder. Raises RunFolderError where there is no student yet."""
    existing(folder, needs=STUDENT)
    config: RunConfig = load([], folder / CONFIG, registry=registry)
    parts = assemble(config, registry)
    student = load_student(folder / STUDENT, parts.teacher, registry)
    return Trained(parts, student, Judging.of(config))


def open_words(config: StudentWords, registry: Registry) -> Trained:
    """Loads the teacher and the student that words name, to judge them on the data."""
    models = load_models(config, registry)
    assert models.student is not None
    judging = Judging(config.student.name, EvalConfig(), 0, plain(config))
    return Trained(judged(models, config, registry), models.student, judging)
