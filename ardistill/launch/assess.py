"""Judging a student: the rows, the timings, the images to look at; and writing them down.

Shape legend: B batch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs
import torch
from torch import Tensor

from ardistill.evaluation.drawing import Candidate
from ardistill.evaluation.evaluate import Evaluation, evaluate
from ardistill.evaluation.grid import Strip, png, sample_grid
from ardistill.evaluation.page import Interpolation, page
from ardistill.evaluation.report import EVALUATING, Report, Row, hardware
from ardistill.evaluation.showing import columns_of, shown
from ardistill.evaluation.timing.speed import Subject, Timing, summary, time_all
from ardistill.files import write_atomic
from ardistill.forwards import packed
from ardistill.launch.candidates import SAME_NOISE, of_baselines, of_student, of_teacher, paired
from ardistill.launch.cost import Cost
from ardistill.launch.judging import Bench
from ardistill.launch.walking import walks
from ardistill.noise import Draw
from ardistill.plugins import Registry
from ardistill.protocols import Progress, Student
from ardistill.schedules import Schedule

_SAMPLES_PER_CLASS = 20
"""At least, behind a baseline's frequencies."""
_LINES = 2


@attrs.frozen(eq=False)
class Assessment:
    """What was found of a student: figures, timings, and images by generator, classes line by line."""

    evaluation: Evaluation
    timings: tuple[Timing, ...]
    samples: Mapping[str, Tensor]
    columns: tuple[str, ...]
    walks: tuple[Interpolation, ...]
    seconds: Mapping[str, float]

    def strips(self) -> list[Strip]:
        """Real, teacher, baselines, student: the same classes under one another."""
        notes = {row.name: f"FID {row.fid:.2f}" for row in self.evaluation.rows}
        if self.evaluation.floor is not None:
            notes["real"] = f"FID {self.evaluation.floor:.2f}, held-out"
        notes[SAME_NOISE] = "what the student's noise means to it"
        return [Strip(name, images_NCHW, notes.get(name, "")) for name, images_NCHW in self.samples.items()]


class _Clock:
    """Wall seconds of what was done inside `lap(name)`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        began = perf_counter()
        yield
        self.seconds[name] = perf_counter() - began


def assess(
    bench: Bench, student: Student, plans: Sequence[Schedule], registry: Registry, progress: Progress
) -> Assessment:
    """The teacher, the baselines, and the student under every plan.

    Gaps are measured where `onestep*`, which is their zero, has a row.
    """
    with packed(bench.parts.teacher, student):
        return _assess(bench, student, plans, registry, progress)


def _assess(
    bench: Bench, student: Student, plans: Sequence[Schedule], registry: Registry, progress: Progress
) -> Assessment:
    judging, teacher, dataset = bench.judging, bench.parts.teacher, bench.parts.dataset
    clock = _Clock()
    own = [of_student(judging.name, plan, student, teacher) for plan in plans]
    with clock.lap("frequencies of the baselines"):
        names = [name for name in judging.eval.baselines if name not in {each.name for each in own}]
        counted = max(judging.eval.rules.n, _SAMPLES_PER_CLASS * teacher.n_classes)
        baselines = of_baselines(names, teacher, counted, judging.seed, progress)
    candidates = [of_teacher(teacher), *baselines, *own]
    with clock.lap("real images"):
        judge = bench.judge(progress)
    evaluation = evaluate(
        candidates, judge, also=lambda candidate, row: bench.with_path_length(candidate, row, progress)
    )
    with clock.lap("speed"):
        timings = _timings(candidates, bench, progress)
        rows = tuple(_with_speed(row, timings, candidates[0].name) for row in evaluation.rows)
    with clock.lap("pictures"):
        pair = paired(teacher, registry)
        to_show = [candidates[0], *([pair] if pair else []), *candidates[1:]]
        samples = shown(to_show, teacher, dataset, lines=_LINES, seed=judging.seed)
        walked = walks(own, pair, teacher, judging.seed)
    return Assessment(
        attrs.evolve(evaluation, rows=rows),
        timings,
        samples,
        tuple(map(str, columns_of(teacher.n_classes))),
        walked,
        {**clock.seconds, **evaluation.seconds},
    )


def _timings(candidates: Sequence[Candidate], bench: Bench, progress: Progress) -> tuple[Timing, ...]:
    teacher, speed = bench.parts.teacher, bench.judging.eval.speed
    device = teacher.tokenizer.codebook.device

    def subject(candidate: Candidate) -> Subject:
        def latents(batch: int) -> Tensor:
            draw = Draw(bench.judging.seed, "eval/speed", 0, batch, device)
            return candidate.generate(draw.indices() % teacher.n_classes, draw)

        return Subject(candidate.name, latents, teacher.tokenizer.decode)

    with torch.no_grad():
        return time_all(
            [subject(candidate) for candidate in candidates],
            batches=speed.batches,
            largest=speed.largest,
            compile=speed.compile,
            repeats=speed.repeats,
            device=device,
            progress=progress,
        )


def _with_speed(row: Row, timings: Sequence[Timing], teacher: str) -> Row:
    own, slow = summary(timings, row.name), summary(timings, teacher)

    def over(theirs: float | None, ours: float | None) -> float | None:
        return None if theirs is None or ours is None else theirs / ours

    return attrs.evolve(
        row,
        **attrs.asdict(own),
        speedup=over(slow.seconds_per_image, own.seconds_per_image),
        latency_speedup=over(slow.latency, own.latency),
    )


def report_of(bench: Bench, found: Assessment, cost: Cost, command: str) -> Report:
    """The report of a run, or of an evaluation alone."""
    spent = {f"{EVALUATING}{name}": seconds for name, seconds in found.seconds.items()}
    return Report(
        rows=found.evaluation.rows,
        floor=found.evaluation.floor,
        speed=found.timings,
        config=bench.judging.config,
        command=command,
        seconds={**cost.seconds, **spent},
        throughput=cost.throughput,
        hardware=hardware(bench.parts.device),
    )


def save_picture(path: Path, found: Assessment) -> None:
    """The images, the same classes under one another."""
    write_atomic(path, png(sample_grid(found.strips(), found.columns)))


def save_page(path: Path, report: Report, found: Assessment, journal: Path | None = None) -> None:
    """report.html; `journal` is the run's metrics.jsonl."""
    records: list[Mapping[str, Any]] = []
    if journal is not None and journal.is_file():
        records = [json.loads(line) for line in journal.read_text().splitlines()]
    write_atomic(path, page(report, found.strips(), found.columns, found.walks, records))
