"""A plugin's choice and its settings, and configuration objects as plain values."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class Section:
    """The name of an offer and an instance of its config class (`NoSettings` where it has none)."""

    name: str
    settings: Any


@attrs.frozen
class Sections:
    """Several offers of one kind, in the order in which they were named."""

    chosen: tuple[Section, ...] = ()


@attrs.frozen
class NoSettings:
    """For offers that take none."""


@attrs.frozen
class Family:
    """A kind whose offers share settings: names that the core has itself, and what an offer's class derives from."""

    own: Mapping[str, type]
    base: type


def section_of(kind: str, default: str | None = None, family: Family | None = None) -> dict[str, Any]:
    """The metadata of an attrs field of type `Section`: what kind of offer it names, and which by default."""
    return {"kind": kind, "default": default, "family": family}


def sections_of(kind: str) -> dict[str, str]:
    """The metadata of an attrs field of type `Sections`: what kind of offers it names."""
    return {"kind": kind}


def absolute(value: Any) -> Any:
    """A configuration with every path made absolute, so that it means the same from any folder; `hf://` stays."""
    if isinstance(value, Path):
        return value if value.parts[:1] == ("hf:",) else value.absolute()
    if isinstance(value, Sections):
        return Sections(tuple(absolute(section) for section in value.chosen))
    if isinstance(value, Section) or attrs.has(type(value)):
        names = [field.name for field in attrs.fields(type(value)) if field.init]
        return attrs.evolve(value, **{name: absolute(getattr(value, name)) for name in names})
    return value


def plain(value: object) -> Any:
    """What TOML can hold: classes become dicts, a `Section` one with its name, `Sections` one by name, None "none"."""
    if isinstance(value, Section):
        return {"name": value.name, **plain(value.settings)}
    if isinstance(value, Sections):
        return {section.name: plain(section.settings) for section in value.chosen}
    cls: Any = type(value)
    if attrs.has(cls):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(cls) if field.init}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: object) -> object:
    if value is None:
        return "none"
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value
