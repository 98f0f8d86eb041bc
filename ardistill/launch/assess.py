"""Judging a student: who is compared with whom, the report, the picture.

Shape legend: B batch, L tokens, C code width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ardistill.config import EvalConfig, RunConfig
from ardistill.config.section import plain
from ardistill.errors import ConfigError
from ardistill.evaluation.drawing import Candidate, Generate
from ardistill.evaluation.evaluate import Evaluation, evaluate
from ardistill.evaluation.grid import Strip, png, sample_grid
from ardistill.evaluation.report import Report, hardware
from ardistill.files import write_atomic
from ardistill.launch.parts import Parts
from ardistill.noise import Draw as ImageDraw
from ardistill.protocols import ARTeacher, Condition, Draw, Progress, Student
from ardistill.sampling import Marginals, generate, schedule, teacher_tokens
from ardistill.schedules import Schedule

BASELINE = "onestep*"
_MARGINAL_BATCH = 500


def _parameters(module: object) -> int | None:
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


def _marginals(teacher: ARTeacher, n: int, seed: int, progress: Progress) -> Candidate:
    """`onestep*`, its frequencies taken from n teacher samples of their own."""
    tokens, labels = [], []
    for start in range(0, n, _MARGINAL_BATCH):
        draw = ImageDraw(
            seed, "eval/marginals", start, min(_MARGINAL_BATCH, n - start), teacher.tokenizer.codebook.device
        )
        labels.append(draw.indices() % teacher.n_classes)
        uniform_BL = draw.uniform("token", teacher.layout.n_tokens)
        tokens.append(teacher_tokens(teacher, Condition(labels[-1]), uniform_BL))
        progress.advance(start + len(draw), n, f"frequencies for {BASELINE}")
    marginals = Marginals.of(
        torch.cat(tokens), torch.cat(labels), teacher.n_classes, teacher.tokenizer.codebook.shape[0]
    )

    def draw_latents(labels_B: Tensor, draw: Draw) -> Tensor:
        uniform_BL = draw.uniform("token", teacher.layout.n_tokens)
        return teacher.tokenizer.codebook[marginals.tokens(labels_B, uniform_BL)]

    return Candidate(BASELINE, 0, draw_latents, marginals.log_p_nLV.numel(), "baseline")


def _student(name: str, plan: Schedule, student: Student, teacher: ARTeacher) -> Candidate:
    def draw_latents(labels_B: Tensor, draw: Draw) -> Tensor:
        return generate(plan, student, teacher, Condition(labels_B), draw)

    made: Generate = draw_latents
    return Candidate(f"{name}, {plan.name}", plan.passes, made, _parameters(student))


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
    """The teacher, the baseline, and the student under every plan."""
    teacher, n, seed = parts.teacher, judging.eval.n, judging.seed
    candidates = [
        _teacher(teacher),
        _marginals(teacher, max(n, 20 * teacher.n_classes), seed, progress),
        *(_student(judging.name, plan, student, teacher) for plan in plans),
    ]
    return evaluate(
        candidates,
        teacher,
        parts.dataset,
        parts.network,
        n=n,
        batch=judging.eval.batch,
        seed=seed,
        progress=progress,
    )


def plans_of(words: Sequence[str], student: Student, teacher: ARTeacher) -> tuple[Schedule, ...]:
    """The schedules of `eval.steps`; without any, 1 to as many passes as the teacher has steps, four at most."""
    if not words:
        most = len(student.jumps) if len(student.jumps) > 1 else teacher.layout.n_steps
        words = [str(passes) for passes in range(1, min(most, 4) + 1)]
    plans = tuple(schedule(word, student, teacher.layout) for word in words)
    twice = [plan.name for index, plan in enumerate(plans) if plan.name in {p.name for p in plans[:index]}]
    if twice:
        raise ConfigError(f"steps names {twice[0]} twice; give each schedule once")
    return plans


def report_of(
    judging: Judging, parts: Parts, result: Evaluation, seconds: Mapping[str, float], command: str
) -> Report:
    return Report(
        rows=result.rows,
        n=judging.eval.n,
        seed=judging.seed,
        protocol=result.protocol,
        config=judging.config,
        command=command,
        seconds={**seconds, **{f"evaluating {name}": spent for name, spent in result.seconds.items()}},
        hardware=hardware(parts.device),
    )


def save_picture(path: Path, result: Evaluation) -> None:
    """Real, teacher, baseline, student: the same classes under one another."""
    notes = {row.name: f"FID {row.fid:.2f}" for row in result.rows}
    notes["real"] = f"FID {result.floor:.2f}, held-out"
    strips = [Strip(name, images_NCHW, notes.get(name, "")) for name, images_NCHW in result.samples.items()]
    write_atomic(path, png(sample_grid(strips, result.columns)))
