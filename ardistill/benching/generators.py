"""What is timed: a teacher and a student's schedules, each from the numbers it draws to latents.

Shape legend: B batch, L tokens, C code width.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from ardistill.baselines import Frequencies
from ardistill.config.bench import BenchMethod, BenchStudent, BenchTeacher
from ardistill.errors import ConfigError, WeightsError
from ardistill.launch.parts import check_alignments, choose_device, read_student, student_reader
from ardistill.noise import Draw
from ardistill.plugins import Registry
from ardistill.protocols import ARTeacher, Condition, Dataset, RunContext, Student
from ardistill.records import TeacherOffer
from ardistill.sampling import follow, redraws, schedule, teacher_tokens
from ardistill.schedules import Schedule

Words = BenchTeacher | BenchMethod | BenchStudent
Numbers = tuple[Tensor, ...]


@attrs.frozen(eq=False)
class Generator:
    """`draw(batch)` makes labels and random numbers on the device, `latents(*numbers)` (B, L, C) of them alone."""

    name: str
    passes: int
    """Evaluations of a transformer."""
    weights: str
    """Where they are from."""
    parameters: int
    """Without the tokenizer's."""
    draw: Callable[[int], Numbers]
    latents: Callable[..., Tensor]


@attrs.frozen(eq=False)
class Models:
    """The teacher and the student on their device, with where their weights are from."""

    teacher: ARTeacher
    teacher_weights: str
    device: torch.device
    student: Student | None = None
    student_weights: str = ""

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All networks there are."""
        parts: tuple[object, ...] = (self.teacher, self.teacher.tokenizer, self.student)
        return tuple(each for each in parts if isinstance(each, nn.Module))


def load(words: Words, registry: Registry) -> Models:
    """Weights as the words give them, or random where a teacher's preset comes without any."""
    if isinstance(words, BenchMethod):
        check_alignments(words.method.name, words.teacher.name, registry)
    device = choose_device(words)
    dataset: Dataset = registry.load("dataset", words.data.name)(words.data.settings)
    teacher, told = _teacher(words, dataset, device, registry)
    if not teacher.n_classes:
        raise ConfigError(
            f"teacher={words.teacher.name} draws captions here, and bench draws classes; give a class-conditional model"
        )
    if isinstance(words, BenchStudent):
        student = read_student(words.student.name, words.student.settings, teacher, registry)
        return Models(teacher, told, device, student, "given")
    if isinstance(words, BenchMethod):
        student = _begun(words, teacher, dataset, device, registry)
        return Models(teacher, told, device, student, f"untrained, as {words.method.name} begins")
    return Models(teacher, told, device)


def _teacher(
    words: Words, dataset: Dataset, device: torch.device, registry: Registry
) -> tuple[ARTeacher, str]:
    name, settings = words.teacher.name, words.teacher.settings
    offer = cast(TeacherOffer, registry.get("teacher", name))
    if offer.untrained is not None:
        untrained = registry.load_target("teacher", name, offer.untrained)
        made: ARTeacher | None = untrained(settings, words.seed)
        if made is not None:
            return made.to(device), f"random, seed {words.seed}"
    try:
        teacher: ARTeacher = registry.load("teacher", name)(settings, dataset.weights)
    except WeightsError as error:
        if offer.untrained is not None:
            raise
        raise WeightsError(f"{error} (teacher={name} can't be made with random weights instead)") from error
    return teacher.to(device), "given"


def _begun(
    words: BenchMethod, teacher: ARTeacher, dataset: Dataset, device: torch.device, registry: Registry
) -> Student:
    """The student as the method has it before training, without the networks that only training needs."""
    network = None
    if teacher.tokenizer.image_shape == dataset.image_shape:
        try:
            network = registry.load("features", dataset.features)(dataset.weights).to(device)
        except WeightsError:  # a method that needs it says so itself
            network = None
    with TemporaryDirectory(prefix="ardistill-bench-") as folder:
        reader = student_reader(teacher, registry)
        context = RunContext(words.seed, Path(folder), device, network, reader)
        method = registry.load("method", words.method.name)(words.method.settings, teacher, context)
        student: Any = method.student()
    ready: Student = student.eval().requires_grad_(False)
    return ready


def generators(models: Models, words: Words) -> tuple[Generator, ...]:
    """The teacher, then the student by each of `steps`. Raises ConfigError for steps that the student does not take."""
    teacher = models.teacher
    found = [of_teacher(teacher, models.teacher_weights, words.seed)]
    if models.student is not None and not isinstance(words, BenchTeacher):
        name = words.method.name if isinstance(words, BenchMethod) else words.student.name
        found += [
            of_student(name, plan, models.student, teacher, models.student_weights, words.seed)
            for plan in _plans(words.steps, models.student, teacher)
        ]
    return tuple(found)


def _plans(steps: Sequence[str], student: Student, teacher: ARTeacher) -> list[Schedule]:
    plans = [schedule(word, student, teacher.layout) for word in steps]
    if not plans or len({plan.name for plan in plans}) < len(plans):
        raise ConfigError(f"steps must name each schedule once, such as 1,2, not {','.join(steps) or 'none'}")
    return plans


def _labelled(teacher: ARTeacher, seed: int, batch: int) -> tuple[Draw, Tensor]:
    """Classes in turn, with the draw of their images."""
    draw = Draw(seed, "bench", 0, batch, teacher.tokenizer.codebook.device)
    return draw, draw.indices() % teacher.n_classes


def of_teacher(teacher: ARTeacher, weights: str, seed: int) -> Generator:
    """All its steps, from labels and one uniform number a token."""

    def draw(batch: int) -> Numbers:
        drawn, labels_B = _labelled(teacher, seed, batch)
        return labels_B, drawn.uniform("token", teacher.layout.n_tokens)

    def latents(labels_B: Tensor, uniform_BL: Tensor) -> Tensor:
        tokens_BL = teacher_tokens(teacher, Condition(labels_B), uniform_BL)
        return teacher.tokenizer.codebook[tokens_BL]

    count = _parameters(teacher) - _parameters(teacher.tokenizer)
    return Generator("teacher", teacher.layout.n_steps, weights, count, draw, latents)


def _parameters(module: object) -> int:
    """How many; 0 of what is no network."""
    return sum(each.numel() for each in module.parameters()) if isinstance(module, nn.Module) else 0


def of_student(
    name: str, plan: Schedule, student: Student, teacher: ARTeacher, weights: str, seed: int
) -> Generator:
    """A schedule, from labels, noise and, where the teacher redraws, one uniform number a token."""
    n_tokens, width = teacher.layout.n_tokens, teacher.tokenizer.codebook.shape[1]

    def draw(batch: int) -> Numbers:
        drawn, labels_B = _labelled(teacher, seed, batch)
        noise_BLC = drawn.normal("noise", n_tokens, width)
        if not redraws(plan):
            return labels_B, noise_BLC
        return labels_B, noise_BLC, drawn.uniform("redraw", n_tokens)

    def latents(labels_B: Tensor, noise_BLC: Tensor, uniform_BL: Tensor | None = None) -> Tensor:
        return follow(plan, student, teacher, Condition(labels_B), noise_BLC, uniform_BL)

    count = _parameters(student)
    called = plan.name if isinstance(student, Frequencies) else f"{name}, {plan.name}"
    return Generator(called, plan.passes, weights, count, draw, latents)
