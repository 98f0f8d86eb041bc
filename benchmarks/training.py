"""What a training step costs, role by role, beside a guided teacher-forced pass of the teacher over as many images.

    python benchmarks/training.py method=dd2 teacher=var-d16 batch=2
    python benchmarks/training.py method=dd1,dd2 teacher=llamagen-l batch=32 precision=bf16 device=cuda out=l.json
    python benchmarks/training.py method=dd2 teacher=var-d20 batch=8 accumulate=4 compile=true checkpointing=true

Steps are the engine's own (`ardistill.training.step`): drawing, losses, the way back, clipping, AdamW, the average.
They take turns with the pass, in which the teacher gives its distributions of all tokens (`log_probs`), in the same
precision; *guided passes* is the median ratio of the two, and on a CPU *CPU* the same by the process's CPU time, which
a busy machine disturbs less. A step of DD2's distillation may take 3.5 of them.
`batch=` is how many images go through at once and `accumulate=` how many such micro-batches make an update;
`precision=`, `compile=` and `checkpointing=` are what `train.` has them for. `phases=csd` keeps to one of a method's
phases; of those with the same losses (DD2's `guidance`, `csd`, `align-guidance`, `align`) only `csd` is there at all.

Beside it, what scoring `score_images=64` images against the codebook takes in memory (DD2's posterior means, there and
back), which may be 1 GiB; 0 leaves it out.

Teachers var-d16, var-d20, var-d24, llamagen-b and llamagen-l have the released sizes and random weights, and students
the settings of their papers; var and llamagen are the bundled ones of the digits, for a look. DD1 learns from pairs of
noise and random tokens, which cost a step what collected ones do, and without LPIPS, whose weights are not here: a step
of its continuous head decodes images besides. DD2 tunes on one sample. Each method has `budget=` seconds, once what
it needs is there, for `repeats=3` rounds after one that does not count: what is begun then is finished, with one round
at least. Minutes on a CPU of `threads=1`; DD2 of a VAR-d16 takes 14 GB there.
"""

import gc
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import attrs
import torch
from attrs.validators import ge, gt, le
from training_parts.result import COLUMNS, Result, Row, Scoring, cells, notes
from training_parts.scoring import scoring
from training_parts.stepping import Wanted, rows
from training_parts.subjects import RELEASED, Method, Teacher, method_of, teacher_of

from ardistill.benching.result import all_versions
from ardistill.cli import check_output
from ardistill.cli.terminal import print_table
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import structure_words
from ardistill.config.section import plain
from ardistill.config.training import Precision
from ardistill.errors import ArdistillError
from ardistill.evaluation.report import hardware
from ardistill.plugins import Registry, discover
from ardistill.protocols import ARTeacher, Progress
from ardistill.training.step import Engine


@attrs.frozen(kw_only=True)
class Benchmark:
    method: tuple[Method, ...] = attrs.field(default=("dd2",))
    teacher: Teacher = "var-d16"
    batch: int = attrs.field(default=1, validator=ge(1))
    """Images at once."""
    accumulate: int = attrs.field(default=1, validator=ge(1))
    """Such micro-batches an update."""
    precision: Precision = "fp32"
    compile: bool = False
    checkpointing: bool = False
    phases: tuple[str, ...] = ()
    """Which of a method's; all where none is named."""
    repeats: int = attrs.field(default=3, validator=[ge(1), le(10_000)])
    budget: float = attrs.field(default=600.0, validator=gt(0))
    score_images: int = attrs.field(default=64, validator=ge(0))
    device: str = "auto"
    threads: int = attrs.field(default=0, validator=[ge(0), le(4096)])
    """CPU threads; 0 is one for each core."""
    out: Path | None = None
    """A JSON file for the figures, with hardware, versions and configuration."""

    @method.validator
    def _once(self, _: object, method: tuple[Method, ...]) -> None:
        if not method or len(set(method)) < len(method):
            raise ValueError(f"method must name each method once, such as dd1,dd2, not {','.join(method)!r}")


def measure(config: Benchmark, command: str) -> Result:
    began, registry = perf_counter(), discover()
    teacher, device = teacher_of(config.teacher, config.device, config.threads, registry)
    found: list[Row] = []
    scored: Scoring | None = None
    with shown_progress() as progress:
        for name in config.method:
            some, draws = _measured(name, config, teacher, device, registry, progress)
            found += some
            gc.collect()  # a method and its phases refer to one another
            if device.type == "cuda":
                torch.cuda.empty_cache()
            if draws and config.score_images:
                scored = scoring(teacher, draws, config.score_images, device)
    return Result(
        rows=tuple(found),
        scoring=scored,
        config=plain(config),
        command=command,
        seconds=perf_counter() - began,
        versions=all_versions(device),
        hardware=hardware(device),
    )


def _measured(
    name: Method,
    config: Benchmark,
    teacher: ARTeacher,
    device: torch.device,
    registry: Registry,
    progress: Progress,
) -> tuple[list[Row], int]:
    """A method's rows, and how many draws of noise it scores: 0 where it scores nothing."""
    engine = Engine(
        precision=config.precision,
        micro_batch=config.batch,
        compile=config.compile,
        checkpointing=config.checkpointing,
    )
    wanted = Wanted(config.repeats, config.budget, config.phases, config.teacher in RELEASED)
    images = config.batch * config.accumulate
    with tempfile.TemporaryDirectory() as folder:
        method, draws = method_of(name, config.teacher, images, teacher, Path(folder), device, registry)
        found = list(rows(name, method, teacher, engine, wanted, device, progress))
    return found, draws


def run(words: Sequence[str]) -> Result:
    """All figures; writes `out` where it is given."""
    config = structure_words(words, Benchmark)
    if config.out is not None:
        check_output(config.out)
    found = measure(config, shlex.join(["python", "benchmarks/training.py", *words]))
    if config.out is not None:
        found.save(config.out)
    return found


def main(words: Sequence[str]) -> int:
    if {"-h", "--help"} & set(words):
        print((__doc__ or "").strip())
        return 0
    try:
        found = run(words)
    except ArdistillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print_table([cells(row) for row in found.rows], COLUMNS)
    told = {**found.hardware, **found.versions}
    print("", *notes(found), ", ".join(f"{what} {value}" for what, value in told.items()), sep="\n")
    return int(found.missed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
