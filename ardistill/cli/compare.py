"""Lay the reports of runs side by side: one table, and one picture.

    python -m ardistill compare RUN RUN... [out=compare.png]
    python -m ardistill compare runs/dd1-var-001 runs/dd2-var-001 out=var.png

RUN is a run's folder, or a report that `eval` has written; without `=` in its name. They must have the same teacher,
data, number of images and protocol. Teacher and baselines are shown once, a run's method with its seed and folder where
it occurs twice; runs that differ in their seed alone have their mean, least and most figures besides. The picture shows
FID against seconds an image, and against the time of training.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ardistill.cli import check_output
from ardistill.config import structure_words
from ardistill.errors import ConfigError, RunFolderError
from ardistill.wording import shown

if TYPE_CHECKING:
    from ardistill.evaluation.tables.comparison import Entry  # which imports torch

SUMMARY = "lay runs side by side: a table and a picture"


@attrs.frozen(kw_only=True)
class CompareWords:
    """What `ardistill compare` takes besides its runs."""

    out: Path = attrs.field(default=Path("compare.png"))

    @out.validator
    def _png(self, _: object, out: Path) -> None:
        if out.suffix != ".png":
            raise ValueError(f"out must end in .png, not {out.name!r}")


def main(words: list[str]) -> int:
    runs = [word for word in words if "=" not in word]
    given = structure_words([word for word in words if "=" in word], CompareWords)
    if not runs:
        raise ConfigError("compare lacks its runs; write: ardistill compare RUN RUN... [out=compare.png]")
    check_output(given.out)

    lay_side_by_side(runs, given.out)
    return 0


def lay_side_by_side(runs: Sequence[str], out: Path) -> None:
    """Prints the table, and writes the picture to `out`. Raises RunFolderError where runs can't be compared."""
    from ardistill.evaluation.tables.chart import chart
    from ardistill.evaluation.tables.comparison import compare
    from ardistill.evaluation.tables.table import print_comparison
    from ardistill.files import write_atomic

    comparison = compare([entry_of(Path(run)) for run in runs])
    picture = chart(comparison.lines)
    print_comparison(comparison)
    write_atomic(out, picture)
    print(f"\n{out}")


def entry_of(run: Path) -> "Entry":
    """The report of a run's folder, or in a file. Raises RunFolderError where there is none."""
    from ardistill.evaluation.report import Report
    from ardistill.evaluation.tables.comparison import Entry
    from ardistill.launch.folder import existing

    try:
        is_folder, is_file = run.is_dir(), run.is_file()
    except OSError as error:
        raise RunFolderError(
            f"{shown(str(run))} is no run ({error.strerror}); give a run's folder"
        ) from error
    if not (is_folder or is_file):
        raise RunFolderError(f"{shown(str(run))} is not there; give a run's folder, or its report.json")
    file = existing(run, needs="report.json") / "report.json" if is_folder else run
    return Entry(file.resolve(), Report.load(file))
