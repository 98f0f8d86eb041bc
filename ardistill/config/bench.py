"""What `ardistill bench` takes. No torch here."""

from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import ge, gt, le, optional

from ardistill.config.section import Section, section_of
from ardistill.config.speed import rising
from ardistill.config.tree import StudentWords, TeacherWords

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Mode = Literal["eager", "compiled", "graph", "compiled-graph"]

ON_GPU: frozenset[str] = frozenset({"graph", "compiled-graph"})
"""Modes that a CPU does not have."""


@attrs.frozen
class CompareConfig:
    """Seconds an image of somebody else's code: shown beside ours as given, since nothing here measured them."""

    tokens: float | None = attrs.field(default=None, validator=optional(gt(0)))
    """Seconds an image without decoding."""
    whole: float | None = attrs.field(default=None, validator=optional(gt(0)))
    """Seconds an image, decoding included."""
    batch: int = attrs.field(default=1, validator=ge(1))
    """The images that it made at once; it is set beside our rows of that batch."""
    of: str = "other code"
    """Whose they are, and on which hardware."""


@attrs.frozen(kw_only=True, slots=False)  # shared by classes that have another base with slots
class BenchWords:
    """What every form of `ardistill bench` takes."""

    batches: tuple[int, ...] = attrs.field(default=(1, 8, 64), validator=rising)
    """Images made at once, smallest first."""
    largest: bool = False
    """Also the largest batch that fits, by doubling the last of `batches`."""
    precision: Precision = "fp32"
    """bf16 and fp16: weights are held in it, and what autocast lets be computed in it is."""
    modes: tuple[Mode, ...] = attrs.field(default=("eager",))
    """eager, compiled (networks through torch.compile), graph (a CUDA graph), compiled-graph (one of compiled ones)."""
    repeats: int = attrs.field(default=9, validator=[ge(1), le(10_000)])
    """Timed calls of each, as far as time allows."""
    budget: float = attrs.field(default=60.0, validator=[gt(0), le(86_400)])
    """Seconds for all of it once the models are there; what is begun then is finished, and the rest left out."""
    seed: int = attrs.field(default=0, validator=[ge(0), le(2**63 - 1)])
    """Of the images' randomness, and of random weights."""
    compare: CompareConfig = attrs.field(factory=CompareConfig)
    """Another's figures, to be set beside ours."""
    out: Path | None = attrs.field(default=None)
    """A JSON file for the figures, with hardware, versions, configuration, date and command."""

    @modes.validator
    def _once(self, _: object, modes: tuple[Mode, ...]) -> None:
        if not modes or len(set(modes)) < len(modes):
            raise ValueError(
                f"modes must name each mode once, such as eager,compiled, not {','.join(modes)!r}"
            )

    @out.validator
    def _json(self, _: object, out: Path | None) -> None:
        if out is not None and out.suffix != ".json":
            raise ValueError(f"out must end in .json, not {out.name!r}")


@attrs.frozen(kw_only=True)
class BenchTeacher(TeacherWords, BenchWords):
    """A teacher alone."""


@attrs.frozen(kw_only=True)
class BenchMethod(TeacherWords, BenchWords):
    """A teacher and the student that a method begins with: what training does to it changes no speed."""

    method: Section = attrs.field(metadata=section_of("method"))
    steps: tuple[str, ...] = ("1",)
    """How the student is sampled; several are rows of their own."""


@attrs.frozen(kw_only=True)
class BenchStudent(StudentWords, BenchWords):
    """A teacher and a trained student."""

    steps: tuple[str, ...] = ("1",)
    """How the student is sampled; several are rows of their own."""
