"""From names in a configuration to the objects they stand for, capabilities checked before anything is loaded."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from torch import nn

from ardistill.config import EvalConfig, NoSettings, RunConfig, StudentWords, TeacherWords
from ardistill.config.section import plain
from ardistill.errors import ArdistillError, ConfigError, PluginError, WeightsError
from ardistill.evaluation.metrics import Metrics
from ardistill.plugins import Registry
from ardistill.protocols import ARTeacher, Dataset, FeatureNetwork, Student, StudentSpec
from ardistill.records import MethodOffer, StudentOffer, TeacherOffer
from ardistill.values import StudentReader
from ardistill.weights import Weights, load_strict, read_weights, write_weights
from ardistill.wording import shown


@attrs.frozen(eq=False)
class Parts:
    """What a run works with, on its device.

    `network` judges; `own_features` is the data's own network, None where its weights are not there.
    """

    dataset: Dataset
    teacher: ARTeacher
    network: FeatureNetwork
    device: torch.device
    own_features: FeatureNetwork | None = None
    metrics: Metrics = attrs.field(factory=Metrics)


@attrs.frozen(eq=False)
class Models:
    """A teacher, the data that bundled its weights, and a student if there is one."""

    dataset: Dataset
    teacher: ARTeacher
    device: torch.device
    student: Student | None = None


def check_capabilities(config: RunConfig, registry: Registry) -> None:
    """Whether the teacher can give what the method needs."""
    teacher = cast(TeacherOffer, registry.get("teacher", config.teacher.name))
    if "class" not in teacher.conditions:
        raise PluginError(
            f"teacher={teacher.name} draws no classes, and every data set is one of classes so far"
        )
    check_alignments(config.method.name, config.teacher.name, registry)


def check_alignments(method_name: str, teacher_name: str, registry: Registry) -> None:
    """Whether the teacher hands out the networks that the method works with."""
    method = cast(MethodOffer, registry.get("method", method_name))
    teacher = cast(TeacherOffer, registry.get("teacher", teacher_name))
    if missing := sorted(method.needs - teacher.alignments):
        raise PluginError(
            f"method={method.name} needs networks of the alignment {', '.join(missing)}, and teacher={teacher.name} "
            f"offers {', '.join(sorted(teacher.alignments)) or 'none'}; choose another teacher or method"
        )


def choose_device(config: TeacherWords) -> torch.device:
    """The device of the configuration, and the CPU threads set as it says."""
    torch.set_num_threads(config.threads or _cores())
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return usable(config.device)


def usable(device: torch.device | str) -> torch.device:
    """The device. Raises ConfigError where this machine has none of that name."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={shown(device)} is no device; use cpu, cuda or cuda:N") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={device} is not there ({torch.cuda.device_count()} CUDA devices are); use device=cpu"
        )
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_models(config: TeacherWords, registry: Registry) -> Models:
    """The teacher, and the student where the words name one."""
    device = choose_device(config)
    dataset: Dataset = registry.load("dataset", config.data.name)(config.data.settings)
    load = registry.load("teacher", config.teacher.name)
    teacher: ARTeacher = load(config.teacher.settings, dataset.weights).to(device)
    student = None
    if isinstance(config, StudentWords):
        student = read_student(config.student.name, config.student.settings, teacher, registry)
    return Models(dataset, teacher, device, student)


def judged(models: Models, config: TeacherWords, judging: EvalConfig, registry: Registry) -> Parts:
    """With the network that judges them: the data have to fit the teacher."""
    dataset, teacher = models.dataset, models.teacher
    if not teacher.n_classes:
        raise ConfigError(
            f"teacher={config.teacher.name} draws captions with these weights, and data={config.data.name} has "
            "classes; give the weights of a class-conditional model"
        )
    if teacher.n_classes != dataset.n_classes or teacher.tokenizer.image_shape != dataset.image_shape:
        raise ConfigError(
            f"teacher={config.teacher.name} draws {teacher.n_classes} classes of {teacher.tokenizer.image_shape} "
            f"images, and data={config.data.name} has {dataset.n_classes} of {dataset.image_shape}; "
            "choose a pair that fits"
        )
    name = judging.rules.features or dataset.features
    network = _network(name, dataset, judging.weights, registry, models.device)
    own: FeatureNetwork | None = network
    if name != dataset.features:
        try:
            own = _network(dataset.features, dataset, None, registry, models.device)
        except WeightsError:  # a method that needs it says so itself
            own = None
    return Parts(dataset, teacher, network, models.device, own, _metrics(judging, registry))


def _metrics(judging: EvalConfig, registry: Registry) -> Metrics:
    """The further figures that are asked for. Raises PluginError where one can't be loaded."""
    chosen = {section.name: section.settings for section in judging.metrics.chosen}
    makers = {name: partial(registry.load("metric", name), settings) for name, settings in chosen.items()}
    return Metrics(makers, {name: plain(settings) for name, settings in chosen.items()})


def _network(
    name: str, dataset: Dataset, weights: Path | None, registry: Registry, device: torch.device
) -> FeatureNetwork:
    """A registered feature network, of the given file, or of what is bundled with data that call it their own."""

    def find(what: str) -> Path | None:
        if what == "features" and weights is not None:
            return weights
        return dataset.weights(what) if name == dataset.features else None

    network: Any = registry.load("features", name)(find)
    made: FeatureNetwork = network.to(device)
    return made


def assemble(config: RunConfig, registry: Registry) -> Parts:
    """Loads data, teacher and feature network of a run."""
    check_capabilities(config, registry)
    return judged(load_models(config, registry), config, config.eval, registry)


def save_student(
    path: Path, student: nn.Module, spec: StudentSpec, about: Mapping[str, Any] | None = None
) -> None:
    """The student's weights with what rebuilds it, and what else the file is to say."""
    write_weights(path, student.state_dict(), {"kind": "student", **attrs.asdict(spec), **(about or {})})


def read_student(name: str, settings: Any, teacher: ARTeacher, registry: Registry) -> Student:
    """The student that `student=NAME student.checkpoint=...` means, on the teacher's device.

    The file may be one of ours, which says how to rebuild it, or in the layout its first authors published.
    """
    offer = cast(StudentOffer, registry.get("student", name))
    if isinstance(settings, NoSettings) or settings.checkpoint is None:
        raise WeightsError(f"student={name} needs its weights; give student.checkpoint=PATH")
    file = read_weights(settings.checkpoint)
    if file.about.get("kind") == "student" or offer.published is None:
        if file.about.get("offer", name) != name:
            raise WeightsError(f"{file.path} holds a student of {file.about['offer']}, not of {name}")
        return rebuilt(file, teacher, registry)
    publish: Any = registry.load_target("student", name, offer.published)
    return _ready(publish(settings, teacher, file), teacher)


def student_reader(teacher: ARTeacher, registry: Registry) -> StudentReader:
    """Reads students of `teacher` by an offer's name and a file, ours or as published."""

    def read(offer: str, path: Path) -> nn.Module:
        cls = registry.config_class("student", offer)
        if cls is None:
            return cast(nn.Module, load_student(path, teacher, registry))
        return cast(nn.Module, read_student(offer, cls(checkpoint=path), teacher, registry))

    return read


def load_student(path: Path, teacher: ARTeacher, registry: Registry) -> Student:
    """The student that `save_student` wrote, on the teacher's device."""
    return rebuilt(read_weights(path), teacher, registry)


def rebuilt(file: Weights, teacher: ARTeacher, registry: Registry) -> Student:
    """The student of a file that says itself how it is rebuilt."""
    offer, settings = file.about.get("offer"), file.about.get("settings")
    if file.about.get("kind") != "student" or not isinstance(offer, str) or not isinstance(settings, dict):
        raise WeightsError(f"{file.path} is not a student's file; expected the student.safetensors of a run")
    rebuild: Any = registry.load("student", offer)
    try:
        student = rebuild(settings, teacher)
    except ArdistillError:
        raise
    except Exception as error:  # the settings come from the file
        raise WeightsError(
            f"{file.path} describes a student that can't be built from this teacher"
        ) from error
    load_strict(student, file, f"a {offer} student of this teacher")
    return _ready(student, teacher)


def _ready(student: Any, teacher: ARTeacher) -> Student:
    """The student, frozen, on the teacher's device."""
    made: Student = student.to(teacher.tokenizer.codebook.device).eval().requires_grad_(False)
    return made
