"""The kit's front door: what is checked of each kind of plugin.

A `..._checks` function gives the checks and their subject; `check_...` runs them, and raises at the first that fails.
"""

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import attrs
from torch import Tensor, nn

from ardistill.protocols import (
    Alignment,
    ARTeacher,
    Callback,
    Condition,
    Dataset,
    FeatureNetwork,
    Jumper,
    Metric,
    Student,
    StudentSpec,
    Tokenizer,
)
from ardistill.testing import (
    callbacks,
    cursors,
    data,
    jumpers,
    methods,
    metrics,
    students,
    teachers,
    tokenizers,
    trajectories,
    trunks,
)
from ardistill.testing import updates as updating
from ardistill.testing.callbacks import CallbackSubject
from ardistill.testing.conformity import Case, Check, S, conform
from ardistill.testing.data import DatasetSubject, FeaturesSubject
from ardistill.testing.metrics import MetricSubject
from ardistill.testing.practice import Make, MethodSubject, pixels
from ardistill.testing.subjects import Rebuild, StudentSubject, TeacherSubject
from ardistill.testing.tokenizers import TokenizerSubject
from ardistill.testing.toy import toy_teacher
from ardistill.testing.trajectories import TrajectorySubject
from ardistill.trajectories.pairs import Pairing
from ardistill.values import Features

T = TypeVar("T")
Checks = tuple[Check[S], ...]
BOTH: Collection[Alignment] = ("prefix", "own")


def made(given: T | Callable[[], T]) -> T:
    """What a factory makes, or the instance itself; a module is none, though it can be called."""
    thing: Any = given
    is_factory = inspect.isroutine(thing) or isinstance(thing, type | partial)
    made: T = thing() if is_factory else thing
    return made


def check_tokenizer(tokenizer: Tokenizer | Callable[[], Tokenizer]) -> None:
    """Raises NonConforming at the first promise of `protocols.Tokenizer` that is broken."""
    conform(tokenizers.CHECKS, TokenizerSubject(made(tokenizer)))


def check_teacher(
    teacher: ARTeacher | Callable[[], ARTeacher],
    *,
    alignments: Collection[Alignment] = BOTH,
    condition: Condition | None = None,
    rebuild: Rebuild | None = None,
) -> None:
    """Raises NonConforming at the first promise of `protocols.ARTeacher`, its tokenizer's included, that is broken.

    `alignments` are those its offer lists; `condition` an example of some rows, for a teacher of captions; `rebuild`
    the target of its own student's offer, where that is not installed yet.
    """
    subject = TeacherSubject(made(teacher), condition, rebuild)
    conform(teacher_checks(alignments), subject)


def teacher_checks(alignments: Collection[Alignment]) -> Checks[TeacherSubject]:
    """Of the teacher, its tokenizer, its cursor, and the networks it hands out in these alignments."""
    own = (*students.CHECKS, *jumpers.CHECKS)
    return (
        teachers.CHECKS[0],
        *_lifted(tokenizers.CHECKS, "tokenizer", lambda subject: TokenizerSubject(subject.teacher.tokenizer)),
        *teachers.CHECKS[1:],
        *cursors.CHECKS,
        *(trunks.CHECKS if "prefix" in alignments else ()),
        *(_lifted(own, "jumper", lambda subject: subject.jumper) if "own" in alignments else ()),
    )


def check_student(
    student: Student | Callable[[ARTeacher], Student],
    teacher: ARTeacher | None = None,
    *,
    sees: Alignment | None = None,
    spec: StudentSpec | None = None,
    rebuild: Rebuild | None = None,
    condition: Condition | None = None,
) -> None:
    """Raises NonConforming at the first promise of `protocols.Student` that is broken.

    A factory takes the teacher, which without one is the kit's toy. `sees` is what its positions may see, of a jumper
    *own*; `spec` and `rebuild` are what a run's folder rebuilds it from, without which a factory makes another.
    """
    subject = student_subject(student, teacher, sees=sees, spec=spec, rebuild=rebuild, condition=condition)
    conform(student_checks(subject), subject)


def student_subject(
    student: Student | Callable[[ARTeacher], Student],
    teacher: ARTeacher | None = None,
    *,
    sees: Alignment | None = None,
    spec: StudentSpec | None = None,
    rebuild: Rebuild | None = None,
    condition: Condition | None = None,
) -> StudentSubject:
    of = TeacherSubject(toy_teacher() if teacher is None else teacher, condition)
    thing: Any = student
    again = None
    if not isinstance(thing, nn.Module) and callable(thing):
        again = partial(thing, of.teacher)
        thing = again()
    if isinstance(thing, nn.Module):
        thing.eval()
    if isinstance(thing, Jumper):
        sees, spec = sees or "own", spec or thing.spec
    return StudentSubject(thing, of, sees, spec, rebuild, again)


def student_checks(subject: StudentSubject) -> Checks[StudentSubject]:
    """Those of a jumper where it is one."""
    return (*students.CHECKS, *(jumpers.CHECKS if isinstance(subject.student, Jumper) else ()))


def check_method(
    make: Make,
    teacher: ARTeacher | None = None,
    *,
    rebuild: Rebuild | None = None,
    features: Features = pixels,
) -> None:
    """Raises NonConforming at the first promise of `protocols.DistillMethod`, its student's included, that is broken.

    `make(teacher, context)` makes the method anew, e.g. `partial(Mine, MineConfig())`; without a teacher it is given
    the kit's toy. `rebuild` is the target of its student's offer, where that is not installed yet. `features` is what
    `RunContext.features` holds, by default the pixels.
    """
    with method_subject(make, teacher, rebuild=rebuild, features=features) as subject:
        conform(METHOD_CHECKS, subject)


@contextmanager
def method_subject(
    make: Make,
    teacher: ARTeacher | None = None,
    *,
    rebuild: Rebuild | None = None,
    features: Features = pixels,
) -> Iterator[MethodSubject]:
    """In a run's folder that lasts as long."""
    with TemporaryDirectory(prefix="ardistill-testing-") as folder:
        teacher = toy_teacher() if teacher is None else teacher
        yield MethodSubject(make, teacher, Path(folder) / "run", rebuild, features)


def check_trajectory(
    make: Callable[..., Tensor],
    teacher: ARTeacher | None = None,
    *,
    settings: Any = None,
    of_noise: bool = False,
) -> None:
    """Raises NonConforming at the first promise of `records.TrajectoryOffer` that is broken.

    `make(settings, teacher, condition, noise_BLC, draw)` is the offer's target; without a teacher it is the kit's toy.
    """
    of = TeacherSubject(toy_teacher() if teacher is None else teacher)
    conform(trajectories.CHECKS, TrajectorySubject(Pairing("checked", settings, make), of, of_noise))


def check_dataset(dataset: Dataset | Callable[[], Dataset]) -> None:
    """Raises NonConforming at the first promise of `protocols.Dataset` that is broken."""
    conform(data.DATASET_CHECKS, DatasetSubject(made(dataset)))


def check_features(
    network: FeatureNetwork | Callable[[], FeatureNetwork], image_shape: tuple[int, int, int] = (3, 64, 64)
) -> None:
    """Raises NonConforming at the first promise of `protocols.FeatureNetwork` that is broken, on such images."""
    conform(data.FEATURES_CHECKS, FeaturesSubject(made(network), image_shape))


def check_metric(
    make: Callable[[], Metric],
    *,
    image_shape: tuple[int, int, int] = (3, 16, 16),
    n_classes: int = 10,
    n_features: int = 8,
) -> None:
    """Raises NonConforming at the first promise of `protocols.Metric` that is broken.

    `make()` makes the metric anew, e.g. `partial(Mine, MineConfig())`; it is shown noise of that shape, with labels of
    the first classes and features of so many numbers.
    """
    conform(metrics.CHECKS, MetricSubject(make, image_shape, n_classes, n_features))


def check_callback(make: Callable[[Path], Callback]) -> None:
    """Raises NonConforming at the first promise of `protocols.Callback` that is broken.

    `make(folder)` makes the callback of a run in that folder, e.g. `partial(Mine, MineConfig())`.
    """
    conform(callbacks.CHECKS, CallbackSubject(make))


def _lifted(checks: Checks[Any], what: str, of: Callable[[Any], Any]) -> Checks[Any]:
    """The same checks of a part of a larger subject, named "what: check"; a case's step means what it means there."""

    def lifted(check: Check[Any]) -> Check[Any]:
        @wraps(check.function)
        def function(subject: Any, case: Case) -> None:
            check.function(of(subject), case)

        function.__name__ = f"{what}: {check.name}"
        return attrs.evolve(check, function=function)

    return tuple(lifted(check) for check in checks)


METHOD_CHECKS: Checks[MethodSubject] = (
    *methods.CHECKS,
    *updating.CHECKS,
    *_lifted(students.CHECKS, "student", lambda subject: subject.student),
)
