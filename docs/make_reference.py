"""Writes docs/reference.md from the code; a test holds the file to what this makes.

python docs/make_reference.py
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from ardistill import hookspecs
from ardistill.cli import VERBS
from ardistill.config import RunConfig, Section
from ardistill.config.layers import nested_class
from ardistill.config.section import plain
from ardistill.plugins import HOOKS, Registry, discover

HERE = Path(__file__).parent
SECTIONS = {
    "method": "method",
    "teacher": "teacher",
    "student": "student",
    "tokenizer": "tokenizer",
    "dataset": "data",
}


def reference() -> str:
    registry = discover()
    parts = [
        "# Reference",
        "Made by `python docs/make_reference.py`; a test fails when it is out of date.",
        "## Verbs",
        *(part for verb in VERBS for part in _verb(verb)),
        "## Words",
        "Those of `run` come first; `sample` and `eval` take those of `teacher` and `student` too, and "
        "`ardistill.load_tokenizer` those of `tokenizer`. Values not given are the defaults below, or a preset's.",
        _table(_fields(RunConfig, "")),
        *(part for kind, word in SECTIONS.items() for part in _sections(registry, kind, word)),
        "## Hooks",
        *(part for hook in HOOKS for part in _hook(hook)),
        "## Plugins",
        _plugins(registry),
    ]
    return "\n\n".join(parts) + "\n"


def _verb(verb: str) -> Iterator[str]:
    yield f"### `{verb}`"
    yield f"```text\n{inspect.getdoc(import_module(VERBS[verb]))}\n```"


def _fields(cls: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Key, type and default of every word of a config class, nested ones under their prefix."""
    for field in attrs.fields(attrs.resolve_types(cls)):
        inner = nested_class(field.type)
        if inner is not None:
            yield from _fields(inner, f"{prefix}{field.name}.")
        elif field.type is Section:
            default = field.metadata.get("default")
            yield f"{prefix}{field.name}", f"a {field.metadata['kind']}'s name", default or "required"
        else:
            yield f"{prefix}{field.name}", _type(field.type), _default(field.default)


def _type(kind: Any) -> str:
    return (
        kind.__name__
        if isinstance(kind, type) and not getattr(kind, "__args__", None)
        else str(kind).replace("typing.", "").replace("pathlib.", "").replace("NoneType", "None")
    )


def _default(value: Any) -> str:
    if value is attrs.NOTHING:
        return "required"
    value = value.factory() if isinstance(value, attrs.Factory) else value  # type: ignore[arg-type]
    told = plain(value)
    return ",".join(map(str, told)) if isinstance(told, list) else str(told) if told != "" else '""'


def _table(rows: Iterator[tuple[str, str, str]]) -> str:
    lines = ["| word | type | default |", "|---|---|---|"]
    lines += [f"| `{key}` | {kind.replace('|', 'or')} | `{default}` |" for key, kind, default in rows]
    return "\n".join(lines)


def _sections(registry: Registry, kind: str, word: str) -> Iterator[str]:
    for name in registry.names(kind):
        cls = registry.config_class(kind, name)
        if cls is None or not attrs.fields(cls):
            continue
        yield f"### `{word}={name}`"
        yield inspect.getdoc(cls) or ""
        yield _table(_fields(cls, f"{word}."))
        offered = getattr(cls, "presets", None)
        if offered is not None:
            yield f"Presets: {', '.join(f'`{preset}`' for preset in offered())}."


def _hook(hook: str) -> Iterator[str]:
    function = getattr(hookspecs, hook)
    yield f"### `{hook}{inspect.signature(function)}`".replace("ardistill.records.", "")
    yield inspect.getdoc(function) or ""


def _plugins(registry: Registry) -> str:
    lines = ["| kind | name | summary |", "|---|---|---|"]
    lines += [
        f"| {found.offer.kind} | `{found.offer.name}` | {found.offer.summary} |"
        for found in registry.offers()
        if found.origin.distribution == "ardistill"
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    HERE.joinpath("reference.md").write_text(reference())
