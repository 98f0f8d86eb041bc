"""`ardistill.distill`: a whole run as one call, for notebooks and scripts; its words are the command line's."""

from pathlib import Path

import attrs

from ardistill.config import RunConfig, dump_toml, structure_trees
from ardistill.config.launching import HERE
from ardistill.config.section import absolute
from ardistill.errors import ConfigError
from ardistill.evaluation.report import Report
from ardistill.launch import folder as folders
from ardistill.launch.distil import Job
from ardistill.launch.lock import locked
from ardistill.launch.ready import ReadyStudent, Silent
from ardistill.launch.settings import tree_of
from ardistill.launch.trained import open_models
from ardistill.plugins import discover
from ardistill.protocols import Progress


@attrs.frozen(eq=False)
class Distilled:
    """What a run has made: its folder, its report, its student."""

    folder: Path
    report: Report
    student: ReadyStudent


def distill(
    method: str = "dd2",
    teacher: str = "var",
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **settings: object,
) -> Distilled:
    """Distils, evaluates and returns the student, as `python -m ardistill run` does, in this process.

    `settings` are further words: `seed=1, quick=True, eval={"n": 1000}`, dotted ones as `**{"method.images": 500}`.
    Where `out` is a run that was interrupted under the same configuration, it goes on; one that is finished is read.
    """
    registry = discover()
    words = tree_of({"method": method, "teacher": teacher, **settings})
    config = structure_trees([words], RunConfig, registry)
    if config.launcher.name != HERE:
        raise ConfigError(f"launcher={config.launcher.name} is for the command line; leave it out")
    name = folders.safe_name(f"{config.method.name}-{config.teacher.name}")
    folder = Path(out) if out is not None else folders.free_folder(Path("runs"), name)
    config = absolute(attrs.evolve(config, out=folder))
    there = folder / folders.CONFIG
    if there.is_file():
        if there.read_text() != dump_toml(config):
            raise ConfigError(f"{folder} holds a run of another configuration; give another out")
        if (folder / folders.REPORT).is_file():
            return _opened(folder)
    job = Job.of(config, folder, registry, progress or Silent())
    if not there.is_file():
        folders.create(folder, dump_toml(config))
    with locked(folder):
        job.run(progress or Silent(), "ardistill.distill(...)")
    return _opened(folder)


def _opened(folder: Path) -> Distilled:
    models = open_models(folder, discover())
    assert models.student is not None
    return Distilled(
        folder, Report.load(folder / folders.REPORT), ReadyStudent(models.student, models.teacher)
    )
