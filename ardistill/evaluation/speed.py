"""Seconds per image, measured so that ratios can be trusted: all candidates take turns within one run."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

import attrs
import torch


@attrs.frozen
class Speed:
    """Seconds per image at one batch size: the median of the repeats, the fastest and the slowest."""

    seconds: float
    fastest: float
    slowest: float
    batch: int
    repeats: int


def _elapsed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call: by the device's clock on CUDA, where a call returns before the work is done."""
    if device.type != "cuda":
        began = perf_counter()
        work()
        return perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        start.record()
        work()
        end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def measure(
    works: Mapping[str, Callable[[], object]],
    batch: int,
    device: torch.device,
    *,
    warmup: int = 1,
    repeats: int = 5,
) -> dict[str, Speed]:
    """Times functions that make `batch` images each.

    Every round calls each of them once, so that a clock that throttles or a busy neighbour slows all alike;
    the first `warmup` rounds are not counted.
    """
    if batch < 1 or repeats < 1 or warmup < 0:
        raise ValueError(f"cannot time {repeats} repeats of {batch} images after {warmup} rounds")
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warmup + repeats):
        for name, work in works.items():
            seconds = _elapsed(work, device) / batch
            if turn >= warmup:
                rounds[name].append(seconds)
    return {
        name: Speed(median(seconds), min(seconds), max(seconds), batch, repeats)
        for name, seconds in rounds.items()
    }
