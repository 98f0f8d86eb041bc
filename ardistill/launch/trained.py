"""Opening what has been trained: a run's folder, or a teacher and a student named by words."""

from pathlib import Path

import attrs

from ardistill.config import EvalConfig, StudentWords
from ardistill.config.section import plain
from ardistill.launch.folder import STUDENT, configured
from ardistill.launch.judging import Judging
from ardistill.launch.parts import Models, Parts, assemble, judged, load_models, load_student
from ardistill.plugins import Registry
from ardistill.protocols import Student


@attrs.frozen(eq=False)
class Trained:
    """A student with its teacher and what judges it."""

    parts: Parts
    student: Student
    judging: Judging


def open_models(folder: Path, registry: Registry) -> Models:
    """The teacher and the student of a run folder, without what judges them."""
    models = load_models(configured(folder, registry), registry)
    return attrs.evolve(models, student=load_student(folder / STUDENT, models.teacher, registry))


def open_run(folder: Path, judged_by: EvalConfig, seed: int | None, registry: Registry) -> Trained:
    """Loads teacher and student of a run folder, to judge them as `judged_by` says."""
    config = configured(folder, registry)
    config = attrs.evolve(config, eval=judged_by, seed=config.seed if seed is None else seed)
    parts = assemble(config, registry)
    student = load_student(folder / STUDENT, parts.teacher, registry)
    return Trained(parts, student, Judging.of(config))


def open_words(config: StudentWords, judged_by: EvalConfig, seed: int, registry: Registry) -> Trained:
    """Loads the teacher and the student that words name, to judge them on the data."""
    models = load_models(config, registry)
    assert models.student is not None
    judging = Judging(config.student.name, judged_by, seed, plain(config))
    return Trained(judged(models, config, judged_by, registry), models.student, judging)
