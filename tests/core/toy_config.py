"""A registry of toy plugins with every kind of setting, for tests of the configuration."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs
from attrs import validators as check

from ardistill import records
from ardistill.plugins import Found, Origin, Registry


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Inner:
    depth: int = attrs.field(default=2, validator=check.ge(1))
    checkpoint: Path | None = None


@attrs.frozen
class ToyConfig:
    alpha: float = attrs.field(default=0.5, validator=check.gt(0))
    ema: bool = True
    steps: int = attrs.field(default=10, validator=[check.ge(1), check.le(10**20)])
    title: str = "toy"
    form: Literal["sid", "dmd", 3] = "sid"
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    sizes: tuple[int, ...] = attrs.field(default=(1, 2), validator=check.max_len(5))
    betas: tuple[float, float] = (0.9, 0.95)
    limit: int | None = None
    share: float | Literal["auto"] = "auto"
    folder: Path = Path("a/b")
    inner: Inner = Inner(depth=7)
    other: Inner | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        return {
            "quick": {"steps": 1, "inner.depth": 3, "sizes": (9,)},
            "paper": {"steps": 500, "inner": {"depth": 30}, "colour": Colour.BLUE, "folder": Path("paper")},
        }


@attrs.frozen
class RecordedConfig:
    """Keeps the name of its preset."""

    preset: str = ""
    width: int = 8

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        return {"quick": {"width": 1}}


@attrs.frozen
class BoundedConfig:
    low: float = 0.0
    high: float = 1.0

    def __attrs_post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, not {self.low} >= {self.high}")


@attrs.frozen
class NamedConfig:
    name: str = "mine"


@attrs.frozen
class OddConfig:
    table: dict[str, int] = attrs.field(factory=dict)


def toy_registry() -> Registry:
    offers = [
        records.MethodOffer("toy", "", "json:dumps", f"{__name__}:ToyConfig"),
        records.MethodOffer("named", "", "json:dumps", f"{__name__}:NamedConfig"),
        records.MethodOffer("odd", "", "json:dumps", f"{__name__}:OddConfig"),
        records.TeacherOffer("bounded", "", "json:dumps", f"{__name__}:BoundedConfig"),
        records.TeacherOffer("recorded", "", "json:dumps", f"{__name__}:RecordedConfig"),
        records.DatasetOffer("digits", "", "json:dumps"),
    ]
    origin = Origin("toys:toys", "toys", "1")
    return Registry({(offer.kind, offer.name): [Found(offer, origin)] for offer in offers}, ())
