"""Timing in rounds, so that ratios can be trusted: all that is compared takes turns within one run."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import attrs
import torch

from ardistill.evaluation.timing.memory import peak, unless_full
from ardistill.protocols import Progress

K = TypeVar("K")

LEAST = 3
"""Repeats that a median needs, however long they take."""


@attrs.frozen(eq=False)
class Laps:
    """Of one piece of work: the seconds of every counted call, and the highest memory during them."""

    seconds: list[float] = attrs.field(factory=list)
    peaks: list[int] = attrs.field(factory=list)
    """Without those that the system does not tell."""


@attrs.frozen(eq=False)
class Bench:
    """Calls everything `warmup` times uncounted and then `repeats` times; after `budget` seconds, three times only."""

    device: torch.device
    repeats: int
    warmup: int
    budget: float
    clock: Callable[[], float]
    progress: Progress

    def elapsed(self, call: Callable[[], object]) -> float:
        """Seconds of one call: by the device's clock on CUDA, where a call returns before the work is done."""
        if self.device.type != "cuda":
            began = self.clock()
            call()
            return self.clock() - began
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device):
            start.record()
            call()
            end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    def rounds(self, works: Mapping[K, Callable[[], object]], what: str) -> dict[K, Laps]:
        """Every round calls each once, so that a clock that throttles or a busy neighbour slows all alike.

        What does not fit into a GPU's memory is left out.
        """
        laps = {key: Laps() for key in works}
        total, began = self.warmup + self.repeats, self.clock()
        for turn in range(total):
            for key in list(laps):
                with peak(self.device) as high:
                    seconds = unless_full(partial(self.elapsed, works[key]), self.device)
                if seconds is None:
                    del laps[key]
                elif turn >= self.warmup:
                    laps[key].seconds.append(seconds)
                    laps[key].peaks.extend([] if high.bytes is None else [high.bytes])
            enough = turn + 1 >= self.warmup + LEAST and self.clock() - began > self.budget
            self.progress.advance(total if enough else turn + 1, total, what)
            if enough:
                break
        return laps
