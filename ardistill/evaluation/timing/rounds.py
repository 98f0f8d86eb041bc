"""Timing in rounds, so that ratios can be trusted: all that is compared takes turns within one run."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import attrs
import torch

from ardistill.evaluation.timing.memory import peak, unless_full
from ardistill.protocols import Progress

K = TypeVar("K")
Stage = Callable[[Any], Any]
"""A part of a piece of work: given what the part before it made, and None where it is the first."""

LEAST = 3
"""Repeats that a median needs, however long they take."""


@attrs.frozen(eq=False)
class Laps:
    """Of one piece of work: the seconds of every counted call, and the highest memory during them."""

    seconds: list[float] = attrs.field(factory=list)
    peaks: list[int] = attrs.field(factory=list)
    """Without those that the system does not tell."""
    stages: list[tuple[float, ...]] = attrs.field(factory=list)
    """Of every counted call, the seconds of each of its stages."""


@attrs.frozen(eq=False)
class Bench:
    """Calls everything `warmup` times uncounted and then `repeats` times; after `budget` seconds, three times only.

    Beyond `deadline`, by the clock, not even that often: no round begins that would end later, as the last one tells,
    once every piece of work was counted once.
    """

    device: torch.device
    repeats: int
    warmup: int
    budget: float
    clock: Callable[[], float]
    progress: Progress
    deadline: float = math.inf

    def elapsed(self, call: Callable[[], object]) -> float:
        """Seconds of one call: by the device's clock on CUDA, where a call returns before the work is done."""
        return sum(self.splits([lambda _: call()]))

    def elapsed_at(self, work: Callable[[int], object], batch: int) -> float:
        """Seconds of one call at that batch."""
        return self.elapsed(partial(work, batch))

    def splits(self, stages: Sequence[Stage]) -> tuple[float, ...]:
        """Seconds of each stage of one piece of work, one after the other."""
        made: Any = None
        if self.device.type != "cuda":
            marks = [self.clock()]
            for stage in stages:
                made = stage(made)
                marks.append(self.clock())
            return tuple(end - start for start, end in pairwise(marks))
        events = [torch.cuda.Event(enable_timing=True) for _ in range(len(stages) + 1)]  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device):
            events[0].record()
            for stage, event in zip(stages, events[1:], strict=True):
                made = stage(made)
                event.record()
        events[-1].synchronize()
        return tuple(float(start.elapsed_time(end)) / 1000 for start, end in pairwise(events))

    def rounds(self, works: Mapping[K, Callable[[], object]], what: str) -> dict[K, Laps]:
        """Every round calls each once, so that a clock that throttles or a busy neighbour slows all alike.

        What does not fit into a GPU's memory is left out.
        """
        return self.staged({key: (partial(_ignoring, call),) for key, call in works.items()}, what)

    def staged(self, works: Mapping[K, Sequence[Stage]], what: str) -> dict[K, Laps]:
        """`rounds` of works in stages."""
        laps = {key: Laps() for key in works}
        total, began = self.warmup + self.repeats, self.clock()
        for turn in range(total):
            turned = self.clock()
            for key in list(laps):
                with peak(self.device) as high:
                    seconds = unless_full(partial(self.splits, works[key]), self.device)
                if seconds is None:
                    del laps[key]
                elif turn >= self.warmup:
                    laps[key].seconds.append(sum(seconds))
                    laps[key].stages.append(seconds)
                    laps[key].peaks.extend([] if high.bytes is None else [high.bytes])
            now = self.clock()
            enough = turn + 1 >= self.warmup + LEAST and now - began > self.budget
            enough = enough or (turn >= self.warmup and 2 * now - turned > self.deadline)
            self.progress.advance(total if enough else turn + 1, total, what)
            if enough:
                break
        return laps


def _ignoring(call: Callable[[], object], _: object) -> object:
    return call()
