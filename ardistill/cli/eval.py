"""Evaluate a student: a run's again, with other schedules or more images, or one named by words.

    python -m ardistill eval run=DIR
    python -m ardistill eval run=DIR steps=1,2 n=10000 seed=1 out=report.json
    python -m ardistill eval run=DIR baselines=onestep*,skip-1,skip-2
    python -m ardistill eval teacher=var student=dd2 student.checkpoint=student.safetensors data=digits

`baselines=` shows none, and measures no gaps. Without `out` the report is only printed; a run's own report.json is left
alone.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

import attrs
from attrs.validators import ge, gt, le, optional

from ardistill.cli import check_output, heads_of
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import StudentWords, structure_trees, structure_words
from ardistill.config.students import student_trees
from ardistill.config.tree import known_baselines
from ardistill.errors import ConfigError
from ardistill.plugins import Registry, discover

SUMMARY = "evaluate a student: distances, accuracy, likelihood, speed"


@attrs.frozen(kw_only=True, slots=False)  # shared by classes that have another base with slots
class EvalWords:
    """What `ardistill eval` takes. What is not given is as the run was configured."""

    n: int | None = attrs.field(default=None, validator=optional(gt(0)))
    steps: tuple[str, ...] = ()
    baselines: tuple[str, ...] | None = attrs.field(default=None, validator=optional(known_baselines))
    seed: int | None = attrs.field(default=None, validator=optional([ge(0), le(2**63 - 1)]))
    out: Path | None = attrs.field(default=None)

    @out.validator
    def _json(self, _: object, out: Path | None) -> None:
        if out is not None and out.suffix != ".json":
            raise ValueError(f"out must end in .json, not {out.name!r}")


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

    from ardistill.evaluation.fidelity import check_enough
    from ardistill.evaluation.table import print_table
    from ardistill.launch.assess import assess, check_baselines, plans_of, report_of
    from ardistill.launch.cost import Cost
    from ardistill.launch.trained import open_run, open_words
    from ardistill.weights import reporting

    with shown_progress() as progress, reporting(progress):
        opened = open_run(given.run, registry) if isinstance(given, EvalRun) else open_words(given, registry)
        judging = opened.judging
        judging = attrs.evolve(
            judging,
            seed=judging.seed if given.seed is None else given.seed,
            eval=attrs.evolve(
                judging.eval,
                n=given.n or judging.eval.n,
                steps=given.steps or judging.eval.steps,
                baselines=judging.eval.baselines if given.baselines is None else given.baselines,
            ),
        )
        check_enough(judging.eval.n, opened.parts.network.n_features, "n images")
        check_baselines(judging.eval.baselines, opened.parts.teacher)
        plans = plans_of(judging.eval.steps, opened.student, opened.parts.teacher)
        result = assess(judging, opened.parts, opened.student, plans, progress)
    print_table(result.rows)
    if given.out is not None:
        command = shlex.join(["python", "-m", "ardistill", "eval", *words])
        report_of(judging, opened.parts, result, Cost(), command).save(given.out)
        print(f"\n{given.out}")
    return 0


def _structured(words: Sequence[str], registry: Registry) -> EvalRun | EvalStudent:
    """Which of the two forms the words have."""
    heads = heads_of(words)
    if "run" in heads:
        return structure_words(words, EvalRun, registry=registry)
    if "student" in heads:
        return structure_trees(student_trees(words, registry), EvalStudent, registry)
    raise ConfigError("eval needs run=DIR, or teacher=NAME with student=NAME student.checkpoint=PATH")
