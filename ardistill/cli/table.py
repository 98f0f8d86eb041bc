"""Print measured rows next to the published ones.

    python -m ardistill table [RUN...] [model=VAR-d16] [method=dd2] [out=FILE.md|.csv]
    python -m ardistill table runs/dd2-var-001 model=VAR-d16 out=table.md

RUN is a run's folder, or a report that `eval` has written; without `=` in its name. The published rows are those of the
papers on DD1, DD2, VAR and LlamaGen; `model=` and `method=` choose among them, and a name stands for its kind as well
(VAR, dd1). Distances depend on how they are measured: a letter marks each, and a line under the table tells the
protocol it stands for. `out=` writes the table besides, as Markdown or as comma-separated values.
"""

from pathlib import Path

import attrs

from ardistill.cli import check_output
from ardistill.cli.compare import entry_of
from ardistill.config import structure_words

SUMMARY = "print measured rows next to the published ones"


@attrs.frozen(kw_only=True)
class TableWords:
    """What `ardistill table` takes besides its runs."""

    model: str | None = None
    method: str | None = None
    out: Path | None = attrs.field(default=None)

    @out.validator
    def _suffix(self, _: object, out: Path | None) -> None:
        if out is not None and out.suffix not in {".md", ".csv"}:
            raise ValueError(f"out must end in .md or .csv, not {out.name!r}")


def main(words: list[str]) -> int:
    runs = [word for word in words if "=" not in word]
    given = structure_words([word for word in words if "=" in word], TableWords)
    if given.out is not None:
        check_output(given.out)

    from ardistill.evaluation.tables.listing import (
        csv_text,
        from_papers,
        from_reports,
        markdown,
        print_listing,
    )
    from ardistill.evaluation.tables.published import chosen
    from ardistill.files import write_atomic

    published = from_papers(chosen(given.model, given.method))
    measured = from_reports(entry_of(Path(run)) for run in runs)
    rows = [*measured, *published]
    print_listing(rows)
    if given.out is not None:
        write_atomic(given.out, markdown(rows) if given.out.suffix == ".md" else csv_text(rows))
        print(f"\n{given.out}")
    return 0
