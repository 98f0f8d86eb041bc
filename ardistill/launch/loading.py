"""Teachers, tokenizers and students by name, for notebooks and scripts: the words of the command line, as arguments.

    teacher = ardistill.load_teacher("var", checkpoint="var_d16.pth", tokenizer={"checkpoint": "vae.pth"})
    student = ardistill.load_student("var-d16-dd1", teacher, checkpoint="var-d16.pth")
    images, labels = ardistill.draw(teacher, student, classes=(207, 88), n=4)

What is returned is frozen, in evaluation mode, on `device`. Errors are those of the command line, as exceptions of
`ardistill.errors`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ardistill.config import NoSettings, structure_trees
from ardistill.config.students import student_of_preset
from ardistill.config.words import Tree, nest
from ardistill.errors import ConfigError
from ardistill.launch.draw import Subjects, draw_images
from ardistill.launch.parts import load_student as load_saved
from ardistill.launch.parts import read_student, usable
from ardistill.plugins import Registry, discover
from ardistill.protocols import ARTeacher, Dataset, Student, Tokenizer, WeightsFinder
from ardistill.wording import shown


def load_teacher(
    name: str, *, data: str = "digits", device: torch.device | str = "cpu", **settings: object
) -> ARTeacher:
    """The teacher called `name` with its tokenizer.

    `settings` are the words after `teacher.`, e.g. `checkpoint=..., cfg=1.5, tokenizer={"checkpoint": ...}`. Where no
    checkpoint is given, the weights bundled with `data` serve.
    """
    return cast(ARTeacher, _load("teacher", name, data, settings).to(usable(device)))


def load_tokenizer(
    name: str, *, data: str = "digits", device: torch.device | str = "cpu", **settings: object
) -> Tokenizer:
    """The tokenizer called `name`; `settings` are the words after `tokenizer.`, e.g. `checkpoint=...`."""
    return cast(Tokenizer, _load("tokenizer", name, data, settings).to(usable(device)))


def load_student(name: str | Path, teacher: ARTeacher, **settings: object) -> Student:
    """A student of `teacher`, on its device.

    `name` is a plugin's (`"var-dd1"`), a preset's (`"var-d16-dd1"`), or the path of a `student.safetensors` that a run
    has made; `settings` are the words after `student.`, e.g. `checkpoint=..., starts=(0, 4)`.
    """
    registry = discover()
    if not isinstance(name, str | Path):
        raise ConfigError(f"a student is named by text or a path, not {shown(name)}")
    if isinstance(name, Path) or name.endswith(".safetensors"):
        return load_saved(Path(name), teacher, registry)
    if not registry.has("student", name):
        settings = {"preset": name, **settings}
        name = student_of_preset(name, registry)
    structured = _settings("student", name, settings, registry)
    return read_student(name, structured, teacher, registry)


@torch.no_grad()
def draw(
    teacher: ARTeacher,
    student: Student | None = None,
    *,
    classes: Sequence[int] = (),
    n: int = 8,
    steps: str = "1",
    seed: int = 0,
    batch: int = 64,
) -> tuple[Tensor, Tensor]:
    """Images (n, channels, H, W) uint8 and their labels (n,), as `ardistill sample` draws them, on the CPU.

    `classes` are drawn in turn; none means all. Without a student the teacher draws, in all its steps.
    """
    subjects = Subjects.classes(teacher, tuple(classes))
    return draw_images(
        teacher, student, subjects, n=n, steps=steps, seed=seed, batch=batch, progress=_Silent()
    )


class _Silent:
    def advance(self, done: int, total: int, what: str) -> None: ...


def _load(kind: str, name: str, data: str, settings: Mapping[str, object]) -> Any:
    for what, given in ((f"a {kind}", name), ("data", data)):
        if not isinstance(given, str):
            raise ConfigError(f"{what} is named by text, not {shown(given)}")
    registry = discover()
    structured = _settings(kind, name, settings, registry)
    dataset: Dataset = registry.load("dataset", data)(_settings("dataset", data, {}, registry))
    bundled: WeightsFinder = dataset.weights
    with torch.device("cpu"):  # whatever the caller's default is; `to` comes afterwards
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
