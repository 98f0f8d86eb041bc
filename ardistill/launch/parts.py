"""From names in a configuration to the objects they stand for, capabilities checked before anything is loaded."""

import os
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from torch import nn

from ardistill.config import RunConfig
from ardistill.errors import ConfigError, PluginError, WeightsError
from ardistill.plugins import Registry
from ardistill.protocols import ARTeacher, Dataset, FeatureNetwork, Student, StudentSpec
from ardistill.records import MethodOffer, TeacherOffer
from ardistill.weights import load_strict, read_weights, write_weights


@attrs.frozen(eq=False)
class Parts:
    """What a run works with, on its device."""

    dataset: Dataset
    teacher: ARTeacher
    network: FeatureNetwork
    device: torch.device


def check_capabilities(config: RunConfig, registry: Registry) -> None:
    """Whether the teacher can give what the method needs."""
    method = cast(MethodOffer, registry.get("method", config.method.name))
    teacher = cast(TeacherOffer, registry.get("teacher", config.teacher.name))
    if missing := sorted(method.needs - teacher.alignments):
        raise PluginError(
            f"method={method.name} needs a trunk of the alignment {', '.join(missing)}, and teacher={teacher.name} "
            f"offers {', '.join(sorted(teacher.alignments)) or 'none'}; choose another teacher or method"
        )


def choose_device(config: RunConfig) -> torch.device:
    """The device of the configuration, and the CPU threads set as it says."""
    torch.set_num_threads(config.threads or _cores())
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(config.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={config.device} is not there ({torch.cuda.device_count()} CUDA devices are); use device=cpu"
        )
    return device


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def assemble(config: RunConfig, registry: Registry) -> Parts:
    """Loads data, teacher and feature network."""
    check_capabilities(config, registry)
    device = choose_device(config)
    dataset: Dataset = registry.load("dataset", config.data.name)(config.data.settings)
    load_teacher = registry.load("teacher", config.teacher.name)
    teacher: ARTeacher = load_teacher(config.teacher.settings, dataset.weights).to(device)
    if teacher.n_classes != dataset.n_classes or teacher.tokenizer.image_shape != dataset.image_shape:
        raise ConfigError(
            f"teacher={config.teacher.name} draws {teacher.n_classes} classes of {teacher.tokenizer.image_shape} "
            f"images, and data={config.data.name} has {dataset.n_classes} of {dataset.image_shape}; "
            "choose a pair that fits"
        )
    network: Any = registry.load("features", dataset.features)(dataset.weights)
    return Parts(dataset, teacher, network.to(device), device)


def save_student(path: Path, student: nn.Module, spec: StudentSpec) -> None:
    """The student's weights with what rebuilds it."""
    write_weights(path, student.state_dict(), {"kind": "student", **attrs.asdict(spec)})


def load_student(path: Path, teacher: ARTeacher, registry: Registry) -> Student:
    """The student that `save_student` wrote, on the teacher's device."""
    file = read_weights(path)
    offer, settings = file.about.get("offer"), file.about.get("settings")
    if file.about.get("kind") != "student" or not isinstance(offer, str) or not isinstance(settings, dict):
        raise WeightsError(f"{path} is not a student's file; expected the student.safetensors of a run")
    rebuild: Any = registry.load("student", offer)
    try:
        student = rebuild(settings, teacher)
    except Exception as error:  # the settings come from the file
        raise WeightsError(f"{path} describes a student that can't be built from this teacher") from error
    load_strict(student, file, f"a {offer} student of this teacher")
    made: Student = student.eval()
    return made
