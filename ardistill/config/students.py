"""Words that name a student by its preset alone: `student.preset=var-d16-dd1`.

A student's config class may say what its presets mean for the teacher, as a classmethod
`teacher_words() -> {preset: {key: value}}`; those values lie under what a user says of the teacher.
"""

from collections.abc import Mapping, Sequence

from ardistill.config.layers import presets_of
from ardistill.config.words import Tree, nest, parse_words
from ardistill.errors import ConfigError
from ardistill.plugins import Registry
from ardistill.wording import listed, shown

_NEEDED = ("student.checkpoint", "teacher.checkpoint", "teacher.tokenizer.checkpoint")


def student_of_preset(preset: str, registry: Registry) -> str:
    """The student that offers the preset. Raises ConfigError where none does, or several do."""
    presets = {name: _presets(name, registry) for name in registry.names("student")}
    owners = [name for name, offered in presets.items() if preset in offered]
    if len(owners) == 1:
        return owners[0]
    if owners:
        raise ConfigError(f"student.preset={preset} is offered by {listed(owners)}; give student=NAME too")
    known = listed(name for offered in presets.values() for name in offered)
    raise ConfigError(f"{shown(preset)} is no student and no student's preset; known presets: {known}")


def student_trees(words: Sequence[str], registry: Registry) -> list[Tree]:
    """The words as a tree, before it the tree of what the student's preset implies."""
    tree = parse_words(words)
    student = tree.get("student")
    given = student if isinstance(student, Mapping) else {"name": student}
    preset, name = given.get("preset"), given.get("name")
    if not isinstance(preset, str):
        return [tree]
    if name is None:
        name = student_of_preset(preset, registry)
    elif not registry.has("student", name) or preset not in _presets(str(name), registry):
        return [tree]  # the section itself says what is wrong with it
    _check_whole(preset, tree)
    told = getattr(registry.config_class("student", str(name)), "teacher_words", None)
    teacher: Mapping[str, object] = told().get(preset, {}) if callable(told) else {}
    implied = {"student.name": name, **{f"teacher.{key}": value for key, value in teacher.items()}}
    return [nest(implied.items()), tree]


def _check_whole(preset: str, tree: Tree) -> None:
    """A published student needs its own weights and its teacher's, none of which are bundled."""
    missing = [f"{key}=PATH" for key in _NEEDED if not _given(tree, key.split("."))]
    if missing:
        raise ConfigError(f"student.preset={preset} is a published student; give {', '.join(missing)} too")


def _given(tree: object, path: Sequence[str]) -> bool:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree is not None


def _presets(name: str, registry: Registry) -> Mapping[str, object]:
    cls = registry.config_class("student", name)
    return {} if cls is None else presets_of(cls)
