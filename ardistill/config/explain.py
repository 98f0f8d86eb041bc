"""What cattrs and attrs raise -> one sentence: what was given, what was expected, the nearest valid key."""

import re
from collections.abc import Iterator, Mapping

import attrs
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)

from ardistill.config.layers import Chosen, Several, nested_class, presets_of
from ardistill.config.values import UnfitError, describe
from ardistill.wording import did_you_mean, listed, message_of, shown

_BOUND = re.compile(r"(Length of )?'(\w+)' must be (>=|>|<=|<) (.+): (.*)", re.DOTALL)
_RELATION = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}


def explain(error: Exception, cls: type, tree: object) -> str:
    """`tree` is what was structured as `cls`. An exception that is not about the input is raised again."""
    return _explain(error, "", list(_keys(cls, tree, "")))


def _explain(error: Exception, path: str, keys: list[str]) -> str:
    if isinstance(error, ClassValidationError):
        return _in_class(error, path, keys)
    if isinstance(error, IterableValidationError):
        ((item, note),) = error.group_exceptions()[0]
        return _explain(item, f"{path}[{note.index}]", keys)
    if isinstance(error, UnfitError):
        return _unfit(error, path)
    if isinstance(error, ValueError):
        return f"{path}: {message_of(error)}"
    raise error


def _in_class(error: ClassValidationError, path: str, keys: list[str]) -> str:
    prefix = f"{path}." if path else ""
    for extra in error.exceptions:
        if isinstance(extra, ForbiddenExtraKeysError):
            key = prefix + min(extra.extra_fields)
            here = [field.name for field in attrs.fields(error.cl)]
            near = did_you_mean(key, [known for known in keys if not key.startswith(f"{known}.")])
            return f"unknown key {shown_key(key)}{near or f'; known here: {listed(here)}'}"
    noted, from_init = error.group_exceptions()
    if not noted:
        return _rejected(from_init[0], prefix, error.cl)
    below, note = noted[0]
    if isinstance(below, KeyError):
        return f"{prefix}{note.name} is missing; it takes {describe(note.type)}"
    return _explain(below, f"{prefix}{note.name}", keys)


def _unfit(error: UnfitError, path: str) -> str:
    if isinstance(error.value, Mapping):
        if not error.value:
            return f"{path} must be {error.expected}, not a section"
        return f"unknown key {shown_key(f'{path}.{min(error.value)}')}; {path} takes {error.expected}"
    given = str(error.value) if isinstance(error.value, str) else ""
    return f"{path} must be {error.expected}, not {shown(error.value)}{did_you_mean(given, error.options)}"


def _rejected(error: Exception, prefix: str, cls: type) -> str:
    """What a validator of the class says, with the whole key in place of the field's name."""
    if not isinstance(error, ValueError | TypeError):
        raise error
    message = message_of(error)
    bound = _BOUND.fullmatch(message)
    if bound:
        length, name, relation, limit, given = bound.groups()
        what = f"the length of {prefix}{name}" if length else f"{prefix}{name}"
        return f"{what} must be {_RELATION[relation]} {limit}, not {given}"
    for field in attrs.fields(cls):
        start = re.match(rf"('?){field.name}\1(?=\W)", message)
        if start:
            return f"{prefix}{field.name}{message[start.end() :]}"
    return f"{prefix[:-1]}: {message}" if prefix else message


def shown_key(key: str) -> str:
    """A key as it is where it is a plain one; TOML allows any text in quotes."""
    return key if re.fullmatch(r"[\w.]{1,80}", key) else shown(key)


def _keys(cls: type, tree: object, prefix: str) -> Iterator[str]:
    """Every key that could be given, below the sections that were chosen."""
    values = tree if isinstance(tree, Mapping) else {}
    if presets_of(cls):
        yield f"{prefix}preset"
    for field in attrs.fields(cls):
        yield f"{prefix}{field.name}"
        inner, value = nested_class(field.type), values.get(field.name)
        if isinstance(value, Chosen):
            yield from _keys(value.cls, value.values, f"{prefix}{field.name}.")
        elif isinstance(value, Several):
            for chosen in value.chosen:
                yield from _keys(chosen.cls, chosen.values, f"{prefix}{field.name}.{chosen.name}.")
        elif inner is not None:
            yield from _keys(inner, value, f"{prefix}{field.name}.")
