"""Words with several values -> the cells of a sweep, each with its words and its name.

`seed=0,1` has two values. The values of a key whose field is a list keep their commas, and are parted by semicolons:
`"eval.steps=1,2;1,4"`. What the launcher is told is told to the sweep, and has one value.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, get_args, get_origin

import attrs

from ardistill.config import NoSettings, RunConfig, Section
from ardistill.config.layers import nested_class
from ardistill.config.values import is_union
from ardistill.errors import ConfigError
from ardistill.launch.folder import safe_name
from ardistill.plugins import Registry
from ardistill.wording import shown

MOST = 10_000
"""Cells of a sweep: Slurm takes no larger array anywhere."""
_BARE = frozenset({"method", "teacher", "data", "seed"})
"""Keys whose value says by itself what it is the value of."""
_WHOLE = ("launcher", "out", "quick", "resume", "--config")


@attrs.frozen
class Cell:
    """A run of a sweep: its folder's name, and the words that make it."""

    name: str
    words: tuple[str, ...]


def cells(words: Sequence[str], registry: Registry) -> list[Cell]:
    """Every combination of the words' values, the last word's changing fastest. Raises ConfigError."""
    offered = _offered(words)
    columns = [[(word, value) for value in values_of(word, offered, registry)] for word in words]
    n_cells = 1
    for column in columns:
        n_cells *= len(column)
    if n_cells > MOST:
        raise ConfigError(
            f"the words make {n_cells:,} cells, and a sweep has {MOST:,} at most; give fewer values"
        )
    several = {word.partition("=")[0] for word, column in zip(words, columns, strict=True) if len(column) > 1}
    found: list[Cell] = []
    taken: dict[str, int] = {}
    for chosen in product(*columns):
        pairs = [(word.partition("=")[0], value) for word, value in chosen]
        name = _name(pairs, several)
        taken[name] = taken.get(name, 0) + 1
        made = name if taken[name] == 1 else f"{name}-{taken[name]}"
        found.append(Cell(made, tuple(f"{key}={value}" for key, value in pairs)))
    if len({cell.name for cell in found}) < len(found) or len({cell.words for cell in found}) < len(found):
        raise ConfigError("two cells of the sweep would be the same; give each value once")
    return found


def values_of(word: str, offered: Mapping[str, Sequence[str]], registry: Registry) -> list[str]:
    """The values a word gives its key. Raises ConfigError where one of them is empty."""
    key, _, text = word.partition("=")
    if key.partition(".")[0] in _WHOLE:
        return [text]
    sign = ";" if _is_list(_kinds(RunConfig, key.split("."), "", offered, registry)) else ","
    values = [value.strip() for value in text.split(sign)] if sign in text else [text]
    if len(values) > 1 and not all(values):
        raise ConfigError(
            f"{key} has an empty value in {shown(text)}; leave out the {sign!r} that is too much"
        )
    return values


def _offered(words: Sequence[str]) -> Mapping[str, list[str]]:
    """What each key of the words may be: the values of those that name a plugin are asked for by their key."""
    told = [word.partition("=") for word in words]
    return {key: [value.strip() for value in text.split(",")] for key, _, text in told}


def _kinds(
    cls: type, path: Sequence[str], above: str, offered: Mapping[str, Sequence[str]], registry: Registry
) -> list[Any]:
    """The types that the key `path` of `cls` may have, over all plugins that the words choose above it."""
    field = attrs.fields_dict(attrs.resolve_types(cls)).get(path[0])
    if field is None:
        return []
    if len(path) == 1:
        return [field.type]
    key = f"{above}{path[0]}"
    if field.type is Section:
        kind = field.metadata["kind"]
        names = offered.get(key) or offered.get(f"{key}.name") or [field.metadata["default"]]
        usable = [name for name in names if registry.has(kind, name)]
        below = [registry.config_class(kind, name) or NoSettings for name in usable]
    else:
        inner = nested_class(field.type)
        below = [] if inner is None else [inner]
    return [found for inner in below for found in _kinds(inner, path[1:], f"{key}.", offered, registry)]


def _is_list(kinds: Sequence[Any]) -> bool:
    members = [member for kind in kinds for member in (get_args(kind) if is_union(kind) else (kind,))]
    return any(get_origin(member) is tuple for member in members)


def _name(pairs: Sequence[tuple[str, str]], several: set[str]) -> str:
    """Method and teacher, and what else differs between cells: dd1-var-0."""
    telling = [(key, value) for key, value in pairs if key in several or key in ("method", "teacher")]
    parts = [value if key in _BARE else f"{key.rpartition('.')[2]}{value}" for key, value in telling]
    return safe_name("-".join(part.strip("/.") for part in parts))
