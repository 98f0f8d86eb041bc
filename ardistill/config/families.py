"""Settings that the offers of a kind share, and words that were given to the wrong one of them.

A word of launcher=slurm under launcher=local is told so. One that has the value it has by default there asks for
nothing, and is left out: written configurations hold every word.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import attrs

from ardistill.config.section import Family, NoSettings
from ardistill.config.values import converter
from ardistill.config.words import Tree
from ardistill.errors import ConfigError, PluginError
from ardistill.plugins import Registry
from ardistill.wording import nearest

_FACTORY: Any = attrs.Factory  # a class, which its stub calls a function


def settings_class(kind: str, name: str, family: Family | None, registry: Registry) -> type:
    """The class of an offer's settings. Raises PluginError where there is none, or it does not belong to the family."""
    if family is None:
        return registry.config_class(kind, name) or NoSettings
    if name in family.own:
        return family.own[name]
    cls = registry.config_class(kind, name) or family.base
    if not issubclass(cls, family.base):
        base = f"{family.base.__module__}.{family.base.__qualname__}"
        raise PluginError(f"{kind} {name} takes a {cls.__qualname__}, which does not derive from {base}")
    return cls


def without_others(tree: Tree, cls: type, family: Family, key: str, name: str, registry: Registry) -> Tree:
    """The section's tree without what only others of the family know. Raises ConfigError where that asks for something.

    `key` is the section's: launcher, and its kind.
    """
    known = {field.name for field in attrs.fields(cls)} | {"preset"}
    if all(word in known for word in tree):
        return tree
    others = _others(name, family, key, registry)
    kept = {word: value for word, value in tree.items() if word in known}
    for word in sorted(tree.keys() - known):
        owners = {other: fields[word] for other, fields in others.items() if word in fields}
        if not owners:
            _refuse_near(word, known, others, key)
            kept[word] = tree[word]  # nobody's, and refused as any unknown word is
        elif not any(_is_default(tree[word], field) for field in owners.values()):
            raise ConfigError(f"{key}.{word} is for {key}={_either(owners)}, and {key}={name}; leave it out")
    return kept


def _others(
    name: str, family: Family, kind: str, registry: Registry
) -> dict[str, Mapping[str, "attrs.Attribute[Any]"]]:
    """The fields of the family's other members; one that cannot be loaded has none to tell of."""
    found: dict[str, Mapping[str, attrs.Attribute[Any]]] = {}
    for other in (*family.own, *registry.names(kind)):
        try:
            cls = settings_class(kind, other, family, registry)
        except PluginError:
            continue
        if other != name:
            found[other] = attrs.fields_dict(attrs.resolve_types(cls))
    return found


def _is_default(value: object, field: "attrs.Attribute[Any]") -> bool:
    default, kind = field.default, cast(Any, field.type)
    if isinstance(default, _FACTORY):
        default = default.factory()
    try:
        return bool(converter.structure(value, kind) == default)
    except Exception:  # whatever the value is, it is not the default
        return False


def _refuse_near(word: str, known: set[str], others: Mapping[str, Mapping[str, object]], key: str) -> None:
    """Raises where a word that nobody knows is like one of other members, and like none of this one's."""
    near = nearest(word, {field for fields in others.values() for field in fields})
    if near is not None and nearest(word, known) is None:
        owners = [other for other, fields in others.items() if near in fields]
        raise ConfigError(
            f"unknown key {key}.{word}; did you mean {key}.{near}, which is for {key}={_either(owners)}?"
        )


def _either(names: Iterable[str]) -> str:
    """a, b or c."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
