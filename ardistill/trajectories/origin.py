"""What made a folder of pairs, and how that differs from what is at hand."""

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Any

import attrs
from cattrs import Converter
from torch import nn

from ardistill.protocols import ARTeacher, Guidance
from ardistill.trajectories.digest import contents_digest
from ardistill.wording import shown

_CONVERTER = Converter(forbid_extra_keys=True)


@attrs.frozen
class Origin:
    """Everything that a pair depends on, besides its index."""

    teacher: str
    """The class, "package.module:name"; its weights are told by their digest, and likewise for the tokenizer."""
    teacher_digest: str
    tokenizer: str
    tokenizer_digest: str
    guidance: Guidance
    constants: Mapping[str, Any]
    """The teacher's own, e.g. numbers of heads."""
    steps: tuple[int, ...]
    """Tokens that each step emits."""
    n_classes: int
    n_codes: int = attrs.field(validator=attrs.validators.ge(1))
    code_width: int = attrs.field(validator=attrs.validators.ge(1))
    trajectory: str
    settings: Mapping[str, Any]
    """The trajectory's, as JSON has them."""
    seed: int

    @classmethod
    def of(cls, teacher: ARTeacher, trajectory: str, settings: Any, seed: int) -> "Origin":
        """What pairs of this teacher come from; reads all of its weights.

        `settings` is an attrs instance or None. A field with the metadata {"origin": False} changes no pairs, and is
        left out.
        """
        plain = {} if settings is None else attrs.asdict(settings, filter=_tells, value_serializer=_plain)
        return cls.read({**_of_teacher(teacher), "trajectory": trajectory, "settings": plain, "seed": seed})

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Origin":
        """From what JSON holds, or can hold; 2 and 2.0 come out alike. Raises whatever cattrs does."""
        return _CONVERTER.structure(json.loads(json.dumps(fields)), cls)

    def by(self, teacher: ARTeacher) -> "Origin":
        """The same trajectory, settings and seed with another teacher."""
        return self.read({**attrs.asdict(self), **_of_teacher(teacher)})

    def digest(self) -> str:
        """32 hex digits that stand for all of it."""
        words = json.dumps(attrs.asdict(self), sort_keys=True)
        return blake2b(words.encode(), digest_size=16).hexdigest()

    def differences(self, other: "Origin") -> list[str]:
        """The fields in which they differ, as "guidance.scale is 1.5 there and 2.0 here"; `self` is there."""
        there, here = (dict(_flat(attrs.asdict(origin))) for origin in (self, other))
        return [
            f"{key} is {_told(there, key)} there and {_told(here, key)} here"
            for key in [*there, *(key for key in here if key not in there)]
            if key not in here or key not in there or there[key] != here[key]
        ]


def _of_teacher(teacher: ARTeacher) -> dict[str, Any]:
    tokenizer = teacher.tokenizer
    codes_VC = tokenizer.codebook
    inside = tokenizer if isinstance(tokenizer, nn.Module) else None
    return {
        "teacher": _class_path(teacher),
        "teacher_digest": contents_digest(teacher, codes_VC, without=inside),
        "tokenizer": _class_path(tokenizer),
        "tokenizer_digest": contents_digest(tokenizer, codes_VC),
        "guidance": attrs.asdict(teacher.guidance),
        "constants": dict(teacher.constants),
        "steps": tuple(teacher.layout.sizes),
        "n_classes": teacher.n_classes,
        "n_codes": codes_VC.shape[0],
        "code_width": codes_VC.shape[1],
    }


def _class_path(thing: object) -> str:
    cls = type(thing)
    return f"{cls.__module__}:{cls.__qualname__}"


def _tells(field: "attrs.Attribute[Any]", _: object) -> bool:
    return bool(field.metadata.get("origin", True))


def _plain(_: object, __: object, value: Any) -> Any:
    """What JSON can hold of a setting."""
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _told(values: Mapping[str, Any], key: str) -> str:
    return shown(values[key]) if key in values else "not set"
