"""How a sample is made: jumps of the student and redraws of the teacher, in order. No torch here."""

import re
from itertools import pairwise

import attrs
from attrs.validators import ge

from ardistill.errors import ConfigError
from ardistill.wording import shown

ONESTEP = "onestep*"
"""The baseline that draws all steps in parallel; DD1's name for the best of its kind (proposition 3.1)."""


@attrs.frozen
class Jump:
    """The student goes from the state with `start` steps of data to the end."""

    start: int = attrs.field(default=0, validator=ge(0))
    split: int = attrs.field(default=0, validator=ge(0))
    """Steps before it are read from the student's logits, as codes; later ones are its latents (DD1's two heads)."""
    passes: int = attrs.field(default=1, validator=ge(0))
    """Of a network; 0 where the student only looks up a table."""


@attrs.frozen
class Redraw:
    """The teacher emits steps `first`..`last`-1 anew, one pass each, after the sample's own earlier steps."""

    first: int
    last: int

    @property
    def passes(self) -> int:
        return self.last - self.first


@attrs.frozen
class Schedule:
    """Moves in order. The noise is the same in every jump (DD1, section 3)."""

    moves: tuple[Jump | Redraw, ...]
    words: str = ""
    """What `steps=` said."""

    @property
    def passes(self) -> int:
        """Transformer passes, as the papers count steps; guidance doubles a teacher pass's cost, not the count."""
        return sum(move.passes for move in self.moves)

    @property
    def name(self) -> str:
        """How a report calls it: "2 passes", or the words of a schedule that has a name of its own."""
        passes = f"{self.passes} pass{'es' * (self.passes != 1)}"
        return passes if self.words.isdigit() or not self.words else self.words


def skipped(name: str) -> int | None:
    """How many last steps the baseline `name` draws in parallel: n for "skip-n", None, meaning all, for "onestep*".

    Raises ConfigError for any other name.
    """
    if name == ONESTEP:
        return None
    if not (match := re.fullmatch(r"skip-([1-9][0-9]{0,5})", name)):
        raise ConfigError(f"{shown(name)} is no baseline; expected {ONESTEP} or skip-N, e.g. skip-1")
    return int(match[1])


def baseline(name: str, n_steps: int) -> Schedule:
    """The schedule of a baseline: the teacher's own first steps, if any, and a table for the last ones in parallel.

    Raises ConfigError where the teacher has too few steps.
    """
    n = skipped(name)
    if n is None:
        return Schedule((Jump(passes=0),), name)
    if n >= n_steps:
        raise ConfigError(
            f"{name} needs a teacher of more than {n} steps, and this one has {n_steps}; give a smaller number, "
            f"or {ONESTEP}, which draws all of them in parallel"
        )
    return Schedule((Redraw(0, n_steps - n), Jump(n_steps - n, passes=0)), name)


def _increasing_from_zero(_: object, __: "attrs.Attribute[tuple[int, ...]]", starts: tuple[int, ...]) -> None:
    if not starts or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
        told = ",".join(map(str, starts)) or "nothing"
        raise ConfigError(f"starts={told} must begin with 0 and increase, e.g. starts=0,5")


@attrs.frozen(kw_only=True)
class Jumps:
    """How a student of several jumps is sampled; steps are the teacher's, counted from 0.

    It jumps from the states with `starts` steps of data; steps before `split` are read from its logits, as codes,
    later ones are its latents. `recipes` are schedules whose split is their own, as "STEPS:SPLIT".
    """

    starts: tuple[int, ...] = attrs.field(default=(0,), validator=_increasing_from_zero)
    split: int = attrs.field(default=0, validator=ge(0))
    recipes: tuple[str, ...] = ()

    def of(self, n_steps: int, unit: str) -> tuple[Jump, ...]:
        """The jumps of a teacher of `n_steps`; `unit` is what it calls its steps, e.g. "scales"."""
        if max(self.starts) >= n_steps or self.split > n_steps:
            raise ConfigError(
                f"starts={','.join(map(str, self.starts))} with split={self.split} is beyond this student's "
                f"{n_steps} {unit}, which count from 0"
            )
        return tuple(Jump(start, self.split) for start in self.starts)
