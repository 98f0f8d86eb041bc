"""Who is compared with whom: the teacher, the baselines, the student under every plan.

Shape legend: B batch, L tokens, C code width.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ardistill.baselines import Frequencies, count
from ardistill.errors import ConfigError
from ardistill.evaluation.drawing import Candidate, FromNoise, Standing
from ardistill.noise import Draw
from ardistill.plugins import Registry
from ardistill.protocols import ARTeacher, Condition, Progress, Student
from ardistill.protocols import Draw as AnyDraw
from ardistill.records import TrajectoryOffer
from ardistill.sampling import follow, generate, redraws, schedule, teacher_tokens
from ardistill.schedules import ONESTEP, Schedule, baseline
from ardistill.trajectories.making import Pairing

SAME_NOISE = "teacher, same noise"


def _parameters(module: object) -> int | None:
    if isinstance(module, Frequencies):
        return module.log_p.numel()
    return sum(each.numel() for each in module.parameters()) if isinstance(module, nn.Module) else None


def of_teacher(teacher: ARTeacher) -> Candidate:
    """The teacher in all its steps."""

    def draw_latents(labels_B: Tensor, draw: AnyDraw) -> Tensor:
        tokens_BL = teacher_tokens(
            teacher, Condition(labels_B), draw.uniform("token", teacher.layout.n_tokens)
        )
        return teacher.tokenizer.codebook[tokens_BL]

    tokenizer = _parameters(teacher.tokenizer)
    every = _parameters(teacher)
    alone = None if every is None else every - (tokenizer or 0)
    return Candidate("teacher", teacher.layout.n_steps, draw_latents, alone, "teacher")


def of_student(name: str, plan: Schedule, student: Student, teacher: ARTeacher) -> Candidate:
    """A baseline is called by its own name, whoever made it: a report has one row of it."""

    def draw_latents(labels_B: Tensor, draw: AnyDraw) -> Tensor:
        return generate(plan, student, teacher, Condition(labels_B), draw)

    def from_noise(noise_BLC: Tensor, labels_B: Tensor) -> Tensor:
        return follow(plan, student, teacher, Condition(labels_B), noise_BLC)

    called = plan.name if isinstance(student, Frequencies) else f"{name}, {plan.name}"
    standing: Standing = "baseline" if called == ONESTEP else "student"
    alone: FromNoise | None = None if redraws(plan) else from_noise
    return Candidate(called, plan.passes, draw_latents, _parameters(student), standing, alone)


def of_baselines(
    names: Sequence[str], teacher: ARTeacher, n: int, seed: int, progress: Progress
) -> list[Candidate]:
    """Their frequencies are those of the same n teacher samples."""
    students = [Frequencies(name, teacher) for name in names]
    if students:
        count(students, teacher, n, seed, "eval/marginals", progress, "frequencies of the baselines")
    return [
        of_student(name, plan, student, teacher)
        for student in students
        for name, plan in student.schedules.items()
    ]


def paired(teacher: ARTeacher, registry: Registry) -> Candidate | None:
    """The teacher as a function of the student's noise, by the first registered trajectory that is one; else None."""
    offers = (registry.get("trajectory", name) for name in registry.names("trajectory"))
    name = next((each.name for each in offers if isinstance(each, TrajectoryOffer) and each.of_noise), None)
    if name is None:
        return None
    cls = registry.config_class("trajectory", name)
    pairing = Pairing(name, None if cls is None else cls(), registry.load("trajectory", name))
    width = teacher.tokenizer.codebook.shape[1]

    def map_noise(noise_BLC: Tensor, labels_B: Tensor, draw: AnyDraw) -> Tensor:
        tokens_BL = pairing.make(pairing.settings, teacher, Condition(labels_B), noise_BLC, draw)
        return teacher.tokenizer.codebook[tokens_BL]

    def from_noise(noise_BLC: Tensor, labels_B: Tensor) -> Tensor:
        return map_noise(noise_BLC, labels_B, Draw(0, "eval/pairing", 0, len(labels_B), noise_BLC.device))

    def draw_latents(labels_B: Tensor, draw: AnyDraw) -> Tensor:
        return map_noise(draw.normal("noise", teacher.layout.n_tokens, width), labels_B, draw)

    return Candidate(SAME_NOISE, teacher.layout.n_steps, draw_latents, from_noise=from_noise)


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
