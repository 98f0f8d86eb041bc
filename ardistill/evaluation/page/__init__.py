"""report.html: one file that tells a run to a reader, without a network and without scripts.

Everything that comes from outside is escaped, and the page's content policy forbids scripts and requests besides.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ardistill.evaluation.grid import Strip
from ardistill.evaluation.page.columns import MISSING, groups_of
from ardistill.evaluation.page.curves import training_curves
from ardistill.evaluation.page.distances import EVAL, distance_plots, n_on_the_way
from ardistill.evaluation.page.legend import letters, series, standing
from ardistill.evaluation.page.pictures import Interpolation, gallery, paths
from ardistill.evaluation.page.scales import number
from ardistill.evaluation.page.speeds import speed_table
from ardistill.evaluation.page.words import lede, machine, protocols, spent, title, toml
from ardistill.evaluation.report import Report
from ardistill.evaluation.tables.comparison import counts_passes

__all__ = ["Interpolation", "page"]


def page(
    report: Report,
    strips: Sequence[Strip],
    columns: Sequence[str],
    interpolations: Sequence[Interpolation] = (),
    journal: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The whole page, the same for the same arguments.

    `columns` names the classes of every strip's lines; `journal` is what metrics.jsonl holds, a mapping a line.
    """
    marks, every = letters(report.rows), series(report.rows)
    own = {row.name: each for each in every for row in each.rows}
    return _template().render(
        report=report,
        title=title(report),
        columns=columns,
        galleries=[gallery(strip, columns) for strip in strips],
        groups=groups_of(report.rows),
        missing=MISSING,
        floor=None if number(report.floor) is None else f"{report.floor:.3f}",
        rows=[(row, own[row.name], marks[row.protocol.key]) for row in report.rows],
        series=every,
        own=own,
        distances=distance_plots(report, journal),
        schedules=any(standing(row) == "student" and not counts_passes(row.name) for row in report.rows),
        has_journal=bool(journal),
        evaluated=any(record.get("phase") == EVAL for record in journal),
        n_on_the_way=n_on_the_way(report),
        curves=training_curves(journal),
        paths=paths(interpolations),
        speed=speed_table(report),
        protocols=protocols(report.rows),
        spent=spent(report),
        lede=lede(report),
        machine=machine(report),
        toml=toml(report.config),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2")
