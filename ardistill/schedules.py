"""How a sample is made: jumps of the student and redraws of the teacher, in order. No torch here."""

import attrs
from attrs.validators import ge


@attrs.frozen
class Jump:
    """One pass of the student from the state with `start` steps of data to the end."""

    start: int = attrs.field(default=0, validator=ge(0))
    split: int = attrs.field(default=0, validator=ge(0))
    """Steps before it are read from the student's logits, as codes; later ones are its latents (DD1's two heads)."""


@attrs.frozen
class Redraw:
    """The teacher emits steps `first`..`last`-1 anew, one pass each, after the sample's own earlier steps."""

    first: int
    last: int


@attrs.frozen
class Schedule:
    """Moves in order. The noise is the same in every jump (DD1, section 3)."""

    moves: tuple[Jump | Redraw, ...]
    words: str = ""
    """What `steps=` said."""

    @property
    def passes(self) -> int:
        """Transformer passes, as the papers count steps; guidance doubles a teacher pass's cost, not the count."""
        return sum(1 if isinstance(move, Jump) else move.last - move.first for move in self.moves)

    @property
    def name(self) -> str:
        """How a report calls it: "2 passes", or the words of a schedule that has a name of its own."""
        passes = f"{self.passes} pass{'es' * (self.passes > 1)}"
        return passes if self.words.isdigit() or not self.words else self.words
