"""Evaluate a trained student again: other schedules, more images, another seed.

    python -m ardistill eval run=DIR
    python -m ardistill eval run=DIR steps=1,2,pre-trained-3-5 n=10000 seed=1 out=report.json

Without `out` the report is only printed; the run's own report.json is left alone.
"""

import shlex
from pathlib import Path

import attrs
from attrs.validators import ge, gt, le

from ardistill.cli import check_output
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import structure_words
from ardistill.plugins import discover

SUMMARY = "evaluate a trained student: distances, accuracy, likelihood, speed"


@attrs.frozen(kw_only=True)
class EvalWords:
    """What `ardistill eval` takes. What is not given is as the run was configured."""

    run: Path
    n: int | None = attrs.field(default=None, validator=attrs.validators.optional(gt(0)))
    steps: tuple[str, ...] = ()
    seed: int | None = attrs.field(default=None, validator=attrs.validators.optional([ge(0), le(2**63 - 1)]))
    out: Path | None = attrs.field(default=None)

    @out.validator
    def _json(self, _: object, out: Path | None) -> None:
        if out is not None and out.suffix != ".json":
            raise ValueError(f"out must end in .json, not {out.name!r}")


def main(words: list[str]) -> int:
    given = structure_words(words, EvalWords)
    if given.out is not None:
        check_output(given.out)

    from ardistill.evaluation.fidelity import check_enough
    from ardistill.evaluation.table import print_table
    from ardistill.launch.assess import assess, plans_of, report_of
    from ardistill.launch.trained import open_run

    trained = open_run(given.run, discover())
    config = trained.config
    judged = attrs.evolve(
        config,
        seed=config.seed if given.seed is None else given.seed,
        eval=attrs.evolve(config.eval, n=given.n or config.eval.n, steps=given.steps or config.eval.steps),
    )
    check_enough(judged.eval.n, trained.parts.network.n_features, "n images")
    plans = plans_of(judged.eval.steps, trained.student, trained.parts.teacher)
    with shown_progress() as progress:
        result = assess(judged, trained.parts, trained.student, plans, progress)
    print_table(result.rows)
    if given.out is not None:
        command = shlex.join(["python", "-m", "ardistill", "eval", *words])
        report_of(judged, trained.parts, result, {}, command).save(given.out)
        print(f"\n{given.out}")
    return 0
