"""DD1's figures 7 and 8 on a data set at hand: FID against the intermediate timestep, and against the number of pairs.

    python benchmarks/dd1.py figure=7
    python benchmarks/dd1.py figure=8 teacher=llamagen at=2000,8000,32000 seed=1
    python benchmarks/dd1.py figure=7 method.images=64000 eval.n=1000 out=DIR

Trains a student for every point, one after the other, each by `ardistill run` in a folder of its own under out=
(default runs/figure7-TEACHER), on pairs that all of them share; draws the curves (figure7.png), prints the table and
writes it (figure7.json). A folder whose run is finished is not run again, an interrupted one is gone on with. `at` are
the points: timesteps counted from 0 for figure 7 (default: every one), numbers of pairs for figure 8. Other words are
the runs' own.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
from ardistill_dd1.config import DD1Config
from attrs.validators import ge

from ardistill.cli.terminal import print_table
from ardistill.config import Section, TeacherWords, section_of, structure_words
from ardistill.errors import ArdistillError, ConfigError
from ardistill.evaluation.report import Report, Row
from ardistill.files import json_text, write_atomic
from ardistill.plugins import discover

_PAIRS = (3_000, 10_000, 30_000, 100_000)
_OWN = ("figure", "at", "seed", "out", "teacher", "data")


@attrs.frozen(kw_only=True)
class Sweep(TeacherWords):
    """What the script takes beside the runs' own words."""

    figure: Literal[7, 8]
    at: tuple[int, ...] = ()
    teacher: Section = attrs.field(metadata=section_of("teacher", default="var"))
    seed: int = attrs.field(default=0, validator=ge(0))
    out: Path | None = None

    @property
    def folder(self) -> Path:
        return (self.out or Path("runs") / f"figure{self.figure}-{self.teacher.name}").absolute()


@attrs.frozen
class Point:
    """One student of the sweep, in one pass and in two."""

    x: int
    report: Report

    def row(self, passes: int) -> Row:
        return next(row for row in self.report.rows if row.name.startswith("dd1") and row.passes == passes)

    def of(self, name: str) -> Row:
        return self.report.row(name)


def points(sweep: Sweep) -> tuple[int, ...]:
    """The values of the sweep's axis. Raises ConfigError where a timestep is not one of the teacher's."""
    if sweep.figure == 8:
        return sweep.at or _PAIRS
    n_steps = _steps_of(sweep)
    wrong = [step for step in sweep.at if not 1 <= step < n_steps]
    if wrong:
        raise ConfigError(f"at={wrong[0]} is no intermediate timestep; expected 1..{n_steps - 1}")
    return sweep.at or tuple(range(1, n_steps))


def _steps_of(sweep: Sweep) -> int:
    from ardistill.launch.parts import load_models  # which imports torch

    return load_models(sweep, discover()).teacher.layout.n_steps


def words_of(sweep: Sweep, x: int) -> list[str]:
    """What the point's run is told beyond the user's words."""
    if sweep.figure == 7:
        return [f"method.starts=0,{x}"]
    return [f"method.n_pairs={x}"]


def _ardistill(*words: str) -> None:
    command = [sys.executable, "-m", "ardistill", *words]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def run(sweep: Sweep, given: Sequence[str]) -> list[Point]:
    """All points, trained or read."""
    chosen, folder = points(sweep), sweep.folder
    models = [word for word in given if word.partition("=")[0].partition(".")[0] in ("teacher", "data")]
    if not any(word.startswith("teacher=") for word in models):
        models.append(f"teacher={sweep.teacher.name}")
    own = [word for word in given if word.partition("=")[0].partition(".")[0] not in _OWN]
    n = next(
        (int(word.partition("=")[2]) for word in own if word.startswith("method.n_pairs=")),
        DD1Config().n_pairs,
    )
    most = max(chosen) if sweep.figure == 8 else n
    pairs = folder / "pairs"
    _ardistill("collect", *models, f"n={most}", f"out={pairs}", f"seed={sweep.seed}")
    found = []
    for x in chosen:
        out = folder / str(x)
        if (out / "config.toml").is_file():
            if not (out / "report.json").is_file():
                _ardistill("run", f"resume={out}")
        else:
            fixed = [
                "method=dd1",
                "eval.steps=1,2",
                f"method.pairs={pairs}",
                f"seed={sweep.seed}",
                f"out={out}",
            ]
            _ardistill("run", *models, *fixed, *own, *words_of(sweep, x))
        found.append(Point(x, Report.load(out / "report.json")))
    return found


def draw(sweep: Sweep, found: Sequence[Point], path: Path) -> None:
    """FID to real images and to the teacher's, one pass and two, over the sweep's axis; the teacher's as a line."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    measures: Mapping[str, Callable[[Row], float | None]] = {
        "FID to real images": lambda row: row.fid,
        "FID to the teacher's images": lambda row: row.fid_teacher,
    }
    for axes, (title, value) in zip(figure.subplots(1, 2), measures.items(), strict=True):
        for passes, label in ((1, "one pass"), (2, "two passes")):
            axes.plot([p.x for p in found], [value(p.row(passes)) for p in found], "o-", label=label)
        axes.axhline(value(found[0].of("teacher")), color="grey", linestyle="--", label="teacher")
        axes.set_title(title)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("intermediate timestep (steps of data)" if sweep.figure == 7 else "pairs")
        axes.set_xscale("linear" if sweep.figure == 7 else "log")
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(path, buffer.getvalue())


def table(found: Sequence[Point]) -> list[tuple[str, ...]]:
    def cells(point: Point) -> tuple[str, ...]:
        rows = (point.row(1), point.row(2))
        values = [
            value for row in rows for value in (row.fid, row.gap_real, row.fid_teacher, row.gap_teacher)
        ]
        return (str(point.x), *("-" if value is None else f"{value:.3g}" for value in values))

    return [cells(point) for point in found]


def main(words: Sequence[str]) -> int:
    if {"-h", "--help"} & set(words):
        print((__doc__ or "").strip())
        return 0
    try:
        mine = [
            word for word in words if word.partition("=")[0].partition(".")[0] in (*_OWN, "device", "threads")
        ]
        sweep = structure_words(mine, Sweep, registry=discover())
        found = run(sweep, words)
    except ArdistillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    axis = "timestep" if sweep.figure == 7 else "pairs"
    columns = [
        f"{what}, {n}" for n in ("1 pass", "2 passes") for what in ("FID", "gap %", "FID teacher", "gap %")
    ]
    print_table(table(found), (axis, *columns))
    picture = sweep.folder / f"figure{sweep.figure}.png"
    draw(sweep, found, picture)
    record: dict[str, Any] = {
        "figure": sweep.figure,
        "points": [{axis: p.x, "rows": [attrs.asdict(row) for row in p.report.rows]} for p in found],
        "command": f"python benchmarks/dd1.py {' '.join(words)}",
        "protocol": attrs.asdict(found[0].report.protocol),
        "hardware": dict(found[0].report.hardware),
        "versions": dict(found[0].report.versions),
    }
    write_atomic(picture.with_suffix(".json"), json_text(record))
    print(f"\n{picture}\n{picture.with_suffix('.json')}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
