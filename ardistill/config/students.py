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


def student_trees(words: Sequence[str], registry: Registry) -> list[Tree]:
    """The words as a tree, before it the tree of what the student's preset implies."""
    tree = parse_words(words)
    student = tree.get("student")
    given = student if isinstance(student, Mapping) else {"name": student}
    preset, named = given.get("preset"), given.get("name")
    if not isinstance(preset, str):
        return [tree]
    presets = {name: _presets(name, registry) for name in registry.names("student") if named in {None, name}}
    owners = [name for name, offered in presets.items() if preset in offered]
    if len(owners) != 1:
        if named is not None:
            return [tree]  # the section itself says what is wrong with it
        known = listed(preset for offered in presets.values() for preset in offered)
        raise ConfigError(f"student.preset={shown(preset)} is no student's preset; known: {known}")
    cls = registry.config_class("student", owners[0])
    told = getattr(cls, "teacher_words", None)
    teacher: Mapping[str, object] = told().get(preset, {}) if callable(told) else {}
    implied = {"student.name": owners[0], **{f"teacher.{key}": value for key, value in teacher.items()}}
    return [nest(implied.items()), tree]


def _presets(name: str, registry: Registry) -> Mapping[str, object]:
    cls = registry.config_class("student", name)
    return {} if cls is None else presets_of(cls)
