"""How long one wants to measure seconds per image."""

from collections.abc import Mapping
from typing import Any

import attrs
from attrs.validators import ge


def rising(_: object, field: "attrs.Attribute[Any]", batches: tuple[int, ...]) -> None:
    """Validator: numbers of images, each larger than the last."""
    if not batches or min(batches) < 1 or list(batches) != sorted(set(batches)):
        told = ",".join(map(str, batches)) or "nothing"
        raise ValueError(
            f"{field.name} must be numbers of images from 1 up, each larger than the last, not {told}"
        )


@attrs.frozen
class SpeedConfig:
    """Which batches are timed, and how often."""

    batches: tuple[int, ...] = attrs.field(default=(1, 8, 64), validator=rising)
    """Images made at once, smallest first; the report's latency is that of 1."""
    largest: bool = False
    """Also the largest batch that fits, by doubling the last of `batches`."""
    compile: bool = False
    """Also through torch.compile, in its default mode."""
    repeats: int = attrs.field(default=9, validator=ge(0))
    """Timed calls of each, as far as time allows, three at least; 0 leaves speed out."""

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        return {"quick": {"batches": (1, 64), "repeats": 5}}
