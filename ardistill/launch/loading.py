"""Teachers, tokenizers and students by name, for notebooks and scripts: the words of the command line, as arguments.

    teacher = ardistill.load_teacher("var", checkpoint="var_d16.pth", tokenizer={"checkpoint": "vae.pth"})
    student = ardistill.load_student("var-d16-dd1", teacher, checkpoint="var-d16.pth")
    images = student.sample([207, 88], passes=1, seed=0)

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
from ardistill.errors import ConfigError
from ardistill.launch.draw import Subjects, draw_images
from ardistill.launch.parts import load_student as load_saved
from ardistill.launch.parts import read_student, usable
from ardistill.launch.ready import ReadyStudent, Silent
from ardistill.launch.settings import tree_of
from ardistill.launch.trained import open_models
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


def load_dataset(name: str, **settings: object) -> Dataset:
    """The data called `name`; `settings` are the words after `data.`, e.g. `path=...` of a folder of images."""
    if not isinstance(name, str):
        raise ConfigError(f"data is named by text, not {shown(name)}")
    registry = discover()
    made: Dataset = registry.load("dataset", name)(_settings("dataset", name, settings, registry))
    return made


def load_student(name: str | Path, teacher: ARTeacher | None = None, **settings: object) -> ReadyStudent:
    """A student, on its teacher's device.

    `name` is a run's folder, which knows its teacher; or, with a `teacher`, a plugin's name (`"var-dd1"`), a preset's
    (`"var-d16-dd1"`), or the path of a `student.safetensors`. `settings` are the words after `student.`, e.g.
    `checkpoint=..., starts=(0, 4)`.
    """
    registry = discover()
    if not isinstance(name, str | Path):
        raise ConfigError(f"a student is named by text or a path, not {shown(name)}")
    if teacher is None:
        if settings:
            raise ConfigError(
                "a run's folder says all that its student needs; give a teacher, or no settings"
            )
        models = open_models(Path(name), registry)
        assert models.student is not None
        return ReadyStudent(models.student, models.teacher)
    if isinstance(teacher, str):
        raise ConfigError(
            f"a student needs the teacher itself, not its name; give load_teacher({shown(teacher)})"
        )
    if isinstance(name, Path) or name.endswith(".safetensors"):
        return ReadyStudent(load_saved(Path(name), teacher, registry), teacher)
    if not registry.has("student", name):
        settings = {"preset": name, **settings}
        name = student_of_preset(name, registry)
    structured = _settings("student", name, settings, registry)
    return ReadyStudent(read_student(name, structured, teacher, registry), teacher)


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
        teacher, student, subjects, n=n, steps=steps, seed=seed, batch=batch, progress=Silent()
    )


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
    return structure_trees([tree_of(settings)], cls, registry)
