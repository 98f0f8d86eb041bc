"""The JSON Schema of `report.json` (draft 2020-12), made from the records themselves.

    python -m ardistill.evaluation.schema > docs/report.schema.json

A field without a default is required, since reading a report needs it; no field that the records lack is allowed.
"""

import inspect
import sys
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from ardistill.evaluation.report import FORMAT, Report
from ardistill.files import json_text

_PLAIN: dict[Any, dict[str, Any]] = {
    Any: {},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
}


def schema() -> dict[str, Any]:
    return schema_of(Report, "report", "report.json", FORMAT)


def schema_of(cls: type, name: str, title: str, version: int) -> dict[str, Any]:
    """Of any record whose field `format` says its version."""
    records: dict[str, dict[str, Any]] = {}
    root = _record(cls, records)
    root["properties"]["format"] = {"const": version}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ardistill:{name}:{version}",
        "title": title,
        **root,
        "$defs": dict(sorted(records.items())),
    }


def text() -> str:
    """The schema as docs/report.schema.json has it."""
    return json_text(schema())


def _record(cls: type, records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An object for a class of attrs; classes inside it go to `records`, by name."""
    hints = get_type_hints(cls)
    fields = attrs.fields(cls)
    return {
        "description": " ".join((inspect.getdoc(cls) or "").split()),
        "type": "object",
        "properties": {field.name: _value(hints[field.name], records) for field in fields},
        "required": [field.name for field in fields if field.default is attrs.NOTHING],
        "additionalProperties": False,
    }


def _value(kind: Any, records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if attrs.has(kind):
        if kind.__name__ not in records:
            records[kind.__name__] = {}
            records[kind.__name__] = _record(kind, records)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) in (Union, types.UnionType):
        return {"anyOf": [_value(part, records) for part in get_args(kind)]}
    return _container(kind, records)


def _container(kind: Any, records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _value(parts[1], records)}
    if origin is tuple and parts[1:] == (Ellipsis,):
        return {"type": "array", "items": _value(parts[0], records)}
    if origin is tuple:
        items = [_value(part, records) for part in parts]
        bounds = {"minItems": len(items), "maxItems": len(items)}
        return {"type": "array", "prefixItems": items, "items": False, **bounds}
    raise TypeError(f"a report's field of type {kind} has no schema yet")


if __name__ == "__main__":
    sys.stdout.write(text())
