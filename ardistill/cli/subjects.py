"""From an installed offer and words to what the conformance kit checks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs

from ardistill.config import (
    NoSettings,
    Section,
    StudentWords,
    TeacherWords,
    parse_words,
    section_of,
    structure_trees,
)
from ardistill.errors import ConfigError
from ardistill.plugins import Found, Registry
from ardistill.records import TeacherOffer, TrajectoryOffer

_SIDES = (3, 64, 64)
"""Of the images that a feature network sees where no data call it their own."""

Checked = tuple[Sequence[Any], Any]
"""The checks and their subject."""


@attrs.frozen(kw_only=True)
class OfData:
    """`data` brings bundled weights."""

    data: Section = attrs.field(metadata=section_of("dataset", default="digits"))
    quick: bool = False


@attrs.frozen(kw_only=True)
class OfTokenizer(OfData):
    tokenizer: Section = attrs.field(metadata=section_of("tokenizer"))


@attrs.frozen(kw_only=True)
class OfFeatures(OfData):
    weights: Path | None = None
    """The network's file; without one, what the data bundle."""


@attrs.frozen(kw_only=True)
class OfTeacher(TeacherWords):
    captions: Path | None = None
    """For a teacher of captions: some of them, as `sample captions=` takes them."""
    quick: bool = False


@attrs.frozen(kw_only=True)
class OfStudent(StudentWords):
    quick: bool = False


@attrs.frozen(kw_only=True)
class OnToy:
    """A method or trajectory on the kit's own teacher."""

    quick: bool = False


@attrs.frozen(kw_only=True)
class OfMethod(OnToy):
    method: Section = attrs.field(metadata=section_of("method"))


@attrs.frozen(kw_only=True)
class OfMetric(OfData):
    """On noise of the data's shape and classes."""

    metric: Section = attrs.field(metadata=section_of("metric"))


@attrs.frozen(kw_only=True)
class OfCallback:
    """In runs of the kit's own."""

    callback: Section = attrs.field(metadata=section_of("callback"))
    quick: bool = False


@attrs.frozen(kw_only=True)
class OfTrajectory(OnToy):
    trajectory: Section = attrs.field(metadata=section_of("trajectory"))


_TEACHER = frozenset({"teacher", "data", "device", "threads"})
_HEADS: Mapping[str, frozenset[str]] = {
    "tokenizer": frozenset({"tokenizer", "data"}),
    "teacher": _TEACHER | {"captions"},
    "trajectory": _TEACHER | {"trajectory"},
    "student": _TEACHER | {"student"},
    "method": _TEACHER | {"method"},
    "dataset": frozenset({"data"}),
    "features": frozenset({"data", "weights"}),
    "metric": frozenset({"metric", "data"}),
    "callback": frozenset({"callback"}),
}


def heads_of(kind: str) -> frozenset[str]:
    """The words that a kind takes, by what stands before the first dot."""
    return _HEADS.get(kind, frozenset())


def subject(found: Found, words: Sequence[str], registry: Registry) -> AbstractContextManager[Checked]:
    """What is checked of an offer, as long as the context lasts.

    Raises ConfigError or WeightsError for what words can mend, PluginError for a broken target.
    """
    kind = found.offer.kind
    makers: Mapping[str, Callable[..., AbstractContextManager[Checked]]] = {
        "tokenizer": _tokenizer,
        "teacher": _teacher,
        "trajectory": _trajectory,
        "student": _student,
        "method": _method,
        "dataset": _dataset,
        "features": _features,
        "metric": _metric,
        "callback": _callback,
    }
    if kind not in makers:
        raise ConfigError(f"the kit has no checks of a {kind}; try {found.offer.name} in a run")
    own = [word for word in words if word.partition("=")[0].partition(".")[0] in heads_of(kind)]
    return makers[kind](found, own, registry)


def asked(found: Found, registry: Registry) -> str:
    """What an offer is asked for by: its name, in full where others have it too."""
    name = found.offer.name
    return name if registry.has(found.offer.kind, name) else found.full_name


def _structured(words: Sequence[str], cls: type, registry: Registry, **named: str) -> Any:
    """The words with the preset `quick` below them, and the plugin that is checked above them."""
    trees = [{"quick": True}, parse_words(words), {key: {"name": name} for key, name in named.items()}]
    return structure_trees(cast(Any, trees), cls, registry)


def _loaded(given: TeacherWords, registry: Registry) -> Any:
    """The teacher that the words name, on its device."""
    from ardistill.launch.parts import load_models

    return load_models(given, registry).teacher


def _teacher_or_toy(words: Sequence[str], registry: Registry) -> tuple[Any, list[str]]:
    """The teacher that the words name, else the kit's own; and the words that do not concern it."""
    from ardistill.testing import toy_teacher

    heads = {word: word.partition("=")[0].partition(".")[0] for word in words}
    others = [word for word in words if heads[word] not in _TEACHER]
    if "teacher" not in heads.values():
        return toy_teacher(), others
    return _loaded(_structured([w for w in words if w not in others], OfTeacher, registry), registry), others


@contextmanager
def _tokenizer(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    from ardistill.testing.tokenizers import CHECKS, TokenizerSubject

    given = _structured(words, OfTokenizer, registry, tokenizer=asked(found, registry))
    dataset = registry.load("dataset", given.data.name)(given.data.settings)
    load = registry.load("tokenizer", asked(found, registry))
    yield CHECKS, TokenizerSubject(load(given.tokenizer.settings, dataset.weights))


@contextmanager
def _teacher(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    from ardistill.testing.checks import teacher_checks
    from ardistill.testing.subjects import TeacherSubject

    given = _structured(words, OfTeacher, registry, teacher=asked(found, registry))
    offer, example = cast(TeacherOffer, found.offer), None
    teacher = _loaded(given, registry)
    if given.captions is not None and offer.captions is not None:
        read = registry.load_target("teacher", asked(found, registry), offer.captions)
        example = read(given.teacher.settings, given.captions)
    if not teacher.n_classes and example is None:
        raise ConfigError(f"teacher={offer.name} draws captions with these weights; give captions=PATH")
    yield teacher_checks(offer.alignments), TeacherSubject(teacher, example)


@contextmanager
def _trajectory(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    from ardistill.testing.subjects import TeacherSubject
    from ardistill.testing.trajectories import CHECKS, TrajectorySubject
    from ardistill.trajectories.pairs import Pairing

    teacher, own = _teacher_or_toy(words, registry)
    settings = _structured(own, OfTrajectory, registry, trajectory=asked(found, registry)).trajectory.settings
    make = registry.load("trajectory", asked(found, registry))
    pairing = Pairing(found.offer.name, None if isinstance(settings, NoSettings) else settings, make)
    yield (
        CHECKS,
        TrajectorySubject(pairing, TeacherSubject(teacher), cast(TrajectoryOffer, found.offer).of_noise),
    )


@contextmanager
def _student(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    """From its file; without one, from a teacher or method of the same plugin that makes such students."""
    from ardistill.launch.parts import load_models
    from ardistill.testing.checks import student_checks, student_subject

    if any(word.startswith("student.") for word in words):
        given = _structured(words, OfStudent, registry, student=asked(found, registry))
        models = load_models(given, registry)
        checked = student_subject(cast(Any, models.student), models.teacher)
        yield student_checks(checked), checked
        return
    beside = [other for other in registry.offers() if other.origin.plugin == found.origin.plugin]
    for other in beside:
        if other.offer.kind == "teacher" and "own" in cast(TeacherOffer, other.offer).alignments:
            with _teacher(other, words, registry) as (_, of):
                if of.jumper.spec.offer == found.offer.name:
                    yield student_checks(of.jumper), of.jumper
                    return
        if other.offer.kind == "method":
            with _method(other, words, registry) as (_, method):
                if method.student.spec.offer == found.offer.name:
                    yield student_checks(method.student), method.student
                    return
    raise ConfigError(
        f"no teacher and no method of {found.origin.plugin} makes a student={found.offer.name} by itself; give "
        "teacher=NAME and student.checkpoint=PATH"
    )


@contextmanager
def _method(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    from ardistill.testing.checks import METHOD_CHECKS, method_subject

    teacher, own = _teacher_or_toy(words, registry)
    given = _structured(own, OfMethod, registry, method=asked(found, registry))
    make = partial(registry.load("method", asked(found, registry)), given.method.settings)
    with method_subject(make, teacher) as checked:
        yield METHOD_CHECKS, checked


@contextmanager
def _dataset(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    from ardistill.testing.data import DATASET_CHECKS, DatasetSubject

    given = _structured(words, OfData, registry, data=asked(found, registry))
    yield (
        DATASET_CHECKS,
        DatasetSubject(registry.load("dataset", asked(found, registry))(given.data.settings)),
    )


@contextmanager
def _metric(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    from ardistill.testing.metrics import CHECKS, MetricSubject

    given = _structured(words, OfMetric, registry, metric=asked(found, registry))
    dataset = registry.load("dataset", given.data.name)(given.data.settings)
    make = partial(registry.load("metric", asked(found, registry)), given.metric.settings)
    yield CHECKS, MetricSubject(make, dataset.image_shape, dataset.n_classes)


@contextmanager
def _callback(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    from ardistill.testing.callbacks import CHECKS, CallbackSubject

    given = _structured(words, OfCallback, registry, callback=asked(found, registry))
    yield (
        CHECKS,
        CallbackSubject(partial(registry.load("callback", asked(found, registry)), given.callback.settings)),
    )


@contextmanager
def _features(found: Found, words: Sequence[str], registry: Registry) -> Iterator[Checked]:
    """On images of the data that call the network their own, where some do."""
    from ardistill.testing.data import FEATURES_CHECKS, FeaturesSubject

    given = _structured(words, OfFeatures, registry)
    dataset = registry.load("dataset", given.data.name)(given.data.settings)
    for other in registry.offers():
        if dataset.features == found.offer.name:
            break
        if other.offer.kind == "dataset" and other.origin.plugin == found.origin.plugin:
            beside = _structured([], OfData, registry, data=asked(other, registry)).data.settings
            dataset = registry.load("dataset", asked(other, registry))(beside)
    owned = dataset.features == found.offer.name

    def find(name: str) -> Path | None:
        if name == "features" and given.weights is not None:
            return cast(Path, given.weights)
        return cast("Path | None", dataset.weights(name)) if owned else None

    network = registry.load("features", asked(found, registry))(find)
    yield FEATURES_CHECKS, FeaturesSubject(network, dataset.image_shape if owned else _SIDES)
