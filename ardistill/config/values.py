"""The strict converter: what a configuration can hold, and how a `Word` or a value of TOML becomes it.

cattrs by itself reads "false" as True and 1.9 as 1; here every kind of value has its own reader, and a type
that has none is refused. There are bool, int, float (finite), str, Path, Enum, Literal, tuple, attrs classes,
and unions of these.
"""

import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from ardistill.config.words import Word
from ardistill.errors import PluginError
from ardistill.wording import listed

_INT = re.compile(r"[+-]?[0-9]+(_[0-9]+)*")
_FLOAT = re.compile(r"[+-]?([0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGITS = 400
"""Longer than any number meant; above some thousand digits Python refuses with a message of its own."""


class UnfitError(ValueError):
    """A value that is not what its field takes; `expected` is a noun phrase."""

    def __init__(self, value: object, expected: str, options: Iterable[str] = ()) -> None:
        super().__init__(value, expected)
        self.value = value
        self.expected = expected
        self.options = tuple(options)


def describe(kind: Any) -> str:
    """What a field of this type takes, as a noun phrase."""
    simple = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "text",
        Path: "a path",
        types.NoneType: "none",
    }
    if kind in simple:
        return simple[kind]
    if is_union(kind):
        return " or ".join(describe(member) for member in get_args(kind))
    if _is_tuple(kind):
        members = dict.fromkeys(describe(member) for member in get_args(kind) if member is not ...)
        return f"a list, each part {' or '.join(members)}"
    if _is_choice(kind):
        return f"one of {listed(_options(kind))}"
    if attrs.has(kind):
        return f"a section with the keys {listed(field.name for field in attrs.fields(kind))}"
    return str(kind)


def _read_scalar(value: object, kind: Any) -> object:
    """bool, int, float, str and Path, and the enums that derive from them."""
    if _is_choice(kind):
        return _read_choice(value, kind)
    read = _SCALARS[kind](value)
    if read is None:
        raise UnfitError(value, describe(kind))
    return read


def _bool(value: object) -> bool | None:
    if isinstance(value, Word):
        return {"true": True, "false": False}.get(value)
    return value if isinstance(value, bool) else None


def _int(value: object) -> int | None:
    if isinstance(value, Word):
        return int(value) if len(value) < _DIGITS and _INT.fullmatch(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: object) -> float | None:
    number: float | None = None
    if isinstance(value, Word):
        number = float(value) if _FLOAT.fullmatch(value) else None
    elif isinstance(value, float | int) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
    return number if number is not None and math.isfinite(number) else None


def _str(value: object) -> str | None:
    return str(value) if isinstance(value, str) else None


def _path(value: object) -> Path | None:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        return None
    try:
        return Path(value).expanduser()
    except RuntimeError:  # ~nobody: a name like any other
        return Path(value)


_SCALARS: dict[Any, Callable[[object], object]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Path: _path,
    bytes: lambda _: None,  # cattrs would take anything for bytes
}


def is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _is_choice(kind: Any) -> bool:
    return get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum))


def _options(kind: Any) -> list[str]:
    return [str(_plain(option)) for option in (get_args(kind) or kind)]


def _plain(option: object) -> object:
    return option.value if isinstance(option, Enum) else option


def _read_choice(value: object, kind: Any) -> object:
    for option in get_args(kind) or kind:
        plain = _plain(option)
        same = (
            str(plain) == value if isinstance(value, Word) else (type(plain), plain) == (type(value), value)
        )
        if same or value is option:
            return option
    raise UnfitError(value, describe(kind), _options(kind))


def _read_tuple(value: object, kind: Any) -> object:
    """Comma-separated words, or a list. Elements of a nested tuple or class come from TOML only."""
    if isinstance(value, Word):
        value = [Word(part.strip()) for part in value.split(",")] if value else []
    if not isinstance(value, list | tuple):
        raise UnfitError(value, describe(kind))
    members = get_args(kind)
    if members[-1:] == (...,):
        members = (members[0],) * len(value)
    elif len(members) != len(value):
        raise UnfitError(list(value), f"{describe(kind)}, {len(members)} in all")
    items = []
    for index, (item, member) in enumerate(zip(value, members, strict=True)):
        try:
            items.append(converter.structure(item, member))
        except Exception as error:
            error.add_note(IterableValidationNote("", index, member))
            raise IterableValidationError("", [error], kind) from error
    return tuple(items)


def _read_union(value: object, kind: Any) -> object:
    """Members are tried in order, None first; `none` is None, in files too, since TOML has no null."""
    members = [member for member in get_args(kind) if member is not types.NoneType]
    if len(members) < len(get_args(kind)) and (value is None or value == "none"):
        return None
    if len(members) == 1:
        return converter.structure(value, members[0])
    for member in members:
        try:
            return converter.structure(value, member)
        except (UnfitError, IterableValidationError):
            continue
    raise UnfitError(value, describe(kind))


def _class_reader(cls: type) -> Callable[[object, Any], object]:
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)

    def structure(value: object, kind: Any) -> object:
        if not isinstance(value, Mapping):
            raise UnfitError(value, describe(kind))
        return read(dict(value), kind)

    return structure


def _refuse(_: object, kind: Any) -> object:
    raise PluginError(f"a configuration class has a field of type {kind}, which no word can give")


def _make_converter() -> cattrs.Converter:
    made = cattrs.Converter(detailed_validation=True)
    for scalar in _SCALARS:
        made.register_structure_hook(scalar, _read_scalar)
    # Of these, the one registered last is asked first.
    made.register_structure_hook_func(lambda _: True, _refuse)
    made.register_structure_hook_factory(attrs.has, _class_reader)
    made.register_structure_hook_func(_is_tuple, _read_tuple)
    made.register_structure_hook_func(is_union, _read_union)
    made.register_structure_hook_func(_is_choice, _read_choice)
    return made


converter = _make_converter()
