"""Teachers, tokenizers and students by name, for notebooks and scripts: the words of the command line, as arguments.

    teacher = ardistill.load_teacher("var", checkpoint="var_d16.pth", tokenizer={"checkpoint": "vae.pth"})
    student = ardistill.load_student("var-d16-dd1", teacher, checkpoint="var-d16.pth")

What is returned is frozen, in evaluation mode, on `device`. Errors are those of the command line, as exceptions of
`ardistill.errors`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from ardistill.config import NoSettings, structure_trees
from ardistill.config.students import student_trees
from ardistill.config.words import Tree, nest
from ardistill.launch.parts import load_student as load_saved
from ardistill.launch.parts import read_student
from ardistill.plugins import Registry, discover
from ardistill.protocols import ARTeacher, Dataset, Student, Tokenizer, WeightsFinder


def load_teacher(
    name: str, *, data: str = "digits", device: torch.device | str = "cpu", **settings: object
) -> ARTeacher:
    """The teacher called `name` with its tokenizer.

    `settings` are the words after `teacher.`, e.g. `checkpoint=..., cfg=1.5, tokenizer={"checkpoint": ...}`. Where no
    checkpoint is given, the weights bundled with `data` serve.
    """
    return cast(ARTeacher, _load("teacher", name, data, settings).to(device))


def load_tokenizer(
    name: str, *, data: str = "digits", device: torch.device | str = "cpu", **settings: object
) -> Tokenizer:
    """The tokenizer called `name`; `settings` are the words after `tokenizer.`, e.g. `checkpoint=...`."""
    return cast(Tokenizer, _load("tokenizer", name, data, settings).to(device))


def load_student(name: str | Path, teacher: ARTeacher, **settings: object) -> Student:
    """A student of `teacher`, on its device.

    `name` is a plugin's (`"var-dd1"`), a preset's (`"var-d16-dd1"`), or the path of a `student.safetensors` that a run
    has made; `settings` are the words after `student.`, e.g. `checkpoint=..., starts=(0, 4)`.
    """
    registry = discover()
    if isinstance(name, Path) or name.endswith(".safetensors"):
        return load_saved(Path(name), teacher, registry)
    if name not in registry.names("student"):
        implied = student_trees([f"student.preset={name}"], registry)
        if len(implied) > 1:
            settings = {"preset": name, **settings}
            name = str(cast("Mapping[str, object]", implied[0]["student"])["name"])
    structured = _settings("student", name, settings, registry)
    return read_student(name, structured, teacher, registry)


def _load(kind: str, name: str, data: str, settings: Mapping[str, object]) -> Any:
    registry = discover()
    structured = _settings(kind, name, settings, registry)
    dataset: Dataset = registry.load("dataset", data)(_settings("dataset", data, {}, registry))
    bundled: WeightsFinder = dataset.weights
    return registry.load(kind, name)(structured, bundled)


def _settings(kind: str, name: str, settings: Mapping[str, object], registry: Registry) -> Any:
    cls = registry.config_class(kind, name) or NoSettings
    return structure_trees([_tree(settings)], cls, registry)


def _tree(settings: Mapping[str, object]) -> Tree:
    """Arguments as TOML would have them: paths as text, tuples as lists; dotted keys nest."""
    return nest((key, _plain(value)) for key, value in settings.items())


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return _tree(value)
    return list(value) if isinstance(value, tuple) else value
