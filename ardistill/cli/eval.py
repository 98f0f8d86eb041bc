"""Evaluate a student: a run's again, by another protocol, or one named by words.

    python -m ardistill eval run=DIR
    python -m ardistill eval run=DIR steps=1,2 n=10000 seed=1 out=report.json
    python -m ardistill eval run=DIR protocol=adm reference=VIRTUAL_imagenet256_labeled.npz weights=inception.pth
    python -m ardistill eval run=DIR ppl.n=2000 speed.compile=true speed.batches=1,8,64
    python -m ardistill eval teacher=var student=dd2 student.checkpoint=student.safetensors data=digits

Its words are those of a run's `eval.` section, and lie over what the run was configured with. `baselines=` shows
none, and measures no gaps. Without `out` the report is only printed; with out=NAME.json a page NAME.html is written
beside it. A run's own report is left alone.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import ge, le, optional

from ardistill.cli import check_output, heads_of
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import EvalConfig, StudentWords, parse_words, structure_trees
from ardistill.config.section import plain
from ardistill.config.students import student_trees
from ardistill.errors import ConfigError
from ardistill.launch.folder import configured
from ardistill.plugins import Registry, discover

SUMMARY = "evaluate a student: distances, accuracy, likelihood, speed"
_OF_TRAINING = ("every", "every_n")


@attrs.frozen(kw_only=True, slots=False)  # shared by classes that have another base with slots
class EvalWords(EvalConfig):
    """What `ardistill eval` takes besides the words of a run's `eval.` section."""

    seed: int | None = attrs.field(default=None, validator=optional([ge(0), le(2**63 - 1)]))
    out: Path | None = attrs.field(default=None)

    @out.validator
    def _json(self, _: object, out: Path | None) -> None:
        if out is not None and out.suffix != ".json":
            raise ValueError(f"out must end in .json, not {out.name!r}")

    @property
    def eval(self) -> EvalConfig:
        """The words of the section alone."""
        return EvalConfig(**{field.name: getattr(self, field.name) for field in attrs.fields(EvalConfig)})


@attrs.frozen(kw_only=True)
class EvalRun(EvalWords):
    """The student of a run's folder."""

    run: Path


@attrs.frozen(kw_only=True)
class EvalStudent(StudentWords, EvalWords):
    """A student named by words."""


def main(words: list[str]) -> int:
    registry = discover()
    given = _structured(words, registry)
    if given.out is not None:
        check_output(given.out)

    from ardistill.evaluation.tables.table import print_table
    from ardistill.launch.assess import assess, report_of, save_page
    from ardistill.launch.candidates import check_baselines, plans_of
    from ardistill.launch.cost import Cost
    from ardistill.launch.judging import Bench
    from ardistill.launch.trained import open_run, open_words
    from ardistill.weights import reporting

    with shown_progress() as progress, reporting(progress):
        if isinstance(given, EvalRun):
            opened = open_run(given.run, given.eval, given.seed, registry)
        else:
            opened = open_words(given, given.eval, given.seed or 0, registry)
        check_baselines(given.baselines, opened.parts.teacher)
        plans = plans_of(given.steps, opened.student, opened.parts.teacher)
        bench = Bench.of(opened.judging, opened.parts, progress)
        found = assess(bench, opened.student, plans, registry, progress)
    print_table(found.evaluation.rows)
    if given.out is not None:
        command = shlex.join(["python", "-m", "ardistill", "eval", *words])
        report = report_of(bench, found, Cost(), command)
        save_page(given.out.with_suffix(".html"), report, found)
        report.save(given.out)
        print(f"\n{given.out}\n{given.out.with_suffix('.html')}")
    return 0


def _structured(words: Sequence[str], registry: Registry) -> EvalRun | EvalStudent:
    """Which of the two forms the words have."""
    heads = heads_of(words)
    if unfit := [name for name in _OF_TRAINING if name in heads]:
        raise ConfigError(f"{unfit[0]} is about evaluations during training; give eval.{unfit[0]} to `run`")
    if "run" in heads:
        tree = parse_words(words)
        return structure_trees([_of_run(tree["run"], registry), tree], EvalRun, registry)
    if "student" in heads:
        return structure_trees(student_trees(words, registry), EvalStudent, registry)
    raise ConfigError("eval needs run=DIR, or teacher=NAME with student=NAME student.checkpoint=PATH")


def _of_run(folder: object, registry: Registry) -> dict[str, Any]:
    """How the run was judged."""
    told: dict[str, Any] = plain(configured(Path(str(folder)), registry).eval)
    return told
