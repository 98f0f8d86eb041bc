"""Judging a student: who is compared with whom, the report, the picture.

Shape legend: B batch, L tokens, C code width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor, nn

from ardistill.baselines import Frequencies, count
from ardistill.config import EvalConfig, RunConfig
from ardistill.config.section import plain
from ardistill.errors import ConfigError
from ardistill.evaluation.drawing import Candidate, Generate, Standing
from ardistill.evaluation.evaluate import Evaluation, evaluate
from ardistill.evaluation.grid import Strip, png, sample_grid
from ardistill.evaluation.report import EVALUATING, Report, hardware
from ardistill.files import write_atomic
from ardistill.launch.cost import Cost
from ardistill.launch.parts import Parts
from ardistill.protocols import ARTeacher, Condition, Draw, Progress, Student
from ardistill.sampling import generate, schedule, teacher_tokens
from ardistill.schedules import ONESTEP, Schedule, baseline

_SAMPLES_PER_CLASS = 20
"""At least, behind a baseline's frequencies."""


def _parameters(module: object) -> int | None:
    if isinstance(module, Frequencies):
        return module.log_p.numel()
    return sum(each.numel() for each in module.parameters()) if isinstance(module, nn.Module) else None


def _teacher(teacher: ARTeacher) -> Candidate:
    def draw_latents(labels_B: Tensor, draw: Draw) -> Tensor:
        tokens_BL = teacher_tokens(
            teacher, Condition(labels_B), draw.uniform("token", teacher.layout.n_tokens)
        )
        return teacher.tokenizer.codebook[tokens_BL]

    tokenizer = _parameters(teacher.tokenizer)
    every = _parameters(teacher)
    alone = None if every is None else every - (tokenizer or 0)
    return Candidate("teacher", teacher.layout.n_steps, draw_latents, alone, "teacher")


def _student(name: str, plan: Schedule, student: Student, teacher: ARTeacher) -> Candidate:
    """A baseline is called by its own name, whoever made it: a report has one row of it."""

    def draw_latents(labels_B: Tensor, draw: Draw) -> Tensor:
        return generate(plan, student, teacher, Condition(labels_B), draw)

    made: Generate = draw_latents
    called = plan.name if isinstance(student, Frequencies) else f"{name}, {plan.name}"
    standing: Standing = "baseline" if called == ONESTEP else "student"
    return Candidate(called, plan.passes, made, _parameters(student), standing)


def _baselines(
    names: Sequence[str], teacher: ARTeacher, n: int, seed: int, progress: Progress
) -> list[Candidate]:
    """Their frequencies are those of the same n teacher samples."""
    students = [Frequencies(name, teacher) for name in names]
    if students:
        count(students, teacher, n, seed, "eval/marginals", progress, "frequencies of the baselines")
    return [
        _student(name, plan, student, teacher)
        for student in students
        for name, plan in student.schedules.items()
    ]


@attrs.frozen
class Judging:
    """How a student is judged, and the configuration that a report records."""

    name: str
    """What rows of the report call the student."""
    eval: EvalConfig
    seed: int
    config: Mapping[str, Any]

    @classmethod
    def of(cls, config: RunConfig) -> "Judging":
        return cls(config.method.name, config.eval, config.seed, plain(config))


def assess(
    judging: Judging, parts: Parts, student: Student, plans: Sequence[Schedule], progress: Progress
) -> Evaluation:
    """The teacher, the baselines, and the student under every plan.

    Gaps are measured where `onestep*`, which is their zero, has a row.
    """
    teacher, n, seed = parts.teacher, judging.eval.n, judging.seed
    own = [_student(judging.name, plan, student, teacher) for plan in plans]
    others = [name for name in judging.eval.baselines if name not in {each.name for each in own}]
    counted = max(n, _SAMPLES_PER_CLASS * teacher.n_classes)
    return evaluate(
        [_teacher(teacher), *_baselines(others, teacher, counted, seed, progress), *own],
        teacher,
        parts.dataset,
        parts.network,
        n=n,
        batch=judging.eval.batch,
        seed=seed,
        progress=progress,
    )


def check_baselines(names: Sequence[str], teacher: ARTeacher) -> None:
    """Whether the teacher has steps enough for each; asked before the work."""
    for name in names:
        baseline(name, teacher.layout.n_steps)


def plans_of(words: Sequence[str], student: Student, teacher: ARTeacher) -> tuple[Schedule, ...]:
    """The schedules of `eval.steps`; without any, 1 to as many passes as the teacher has steps, four at most.

    A student without jumps is judged by every schedule of its own.
    """
    if not words and not student.jumps:
        words = tuple(student.schedules)
    elif not words:
        most = len(student.jumps) if len(student.jumps) > 1 else teacher.layout.n_steps
        words = [str(passes) for passes in range(1, min(most, 4) + 1)]
    plans = tuple(schedule(word, student, teacher.layout) for word in words)
    twice = [plan.name for index, plan in enumerate(plans) if plan.name in {p.name for p in plans[:index]}]
    if twice:
        raise ConfigError(f"steps names {twice[0]} twice; give each schedule once")
    return plans


def report_of(judging: Judging, parts: Parts, result: Evaluation, cost: Cost, command: str) -> Report:
    return Report(
        rows=result.rows,
        n=judging.eval.n,
        seed=judging.seed,
        protocol=result.protocol,
        config=judging.config,
        command=command,
        seconds={**cost.seconds, **{f"{EVALUATING}{name}": spent for name, spent in result.seconds.items()}},
        throughput=cost.throughput,
        hardware=hardware(parts.device),
    )


def save_picture(path: Path, result: Evaluation) -> None:
    """Real, teacher, baselines, student: the same classes under one another."""
    notes = {row.name: f"FID {row.fid:.2f}" for row in result.rows}
    notes["real"] = f"FID {result.floor:.2f}, held-out"
    strips = [Strip(name, images_NCHW, notes.get(name, "")) for name, images_NCHW in result.samples.items()]
    write_atomic(path, png(sample_grid(strips, result.columns)))
