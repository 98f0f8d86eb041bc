"""Seconds per image: at several batch sizes, with and without decoding, eager and compiled.

Shape legend: B batch, L tokens, C code width, H W pixels.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from statistics import median
from time import perf_counter

import attrs
import torch
from torch import Tensor

from ardistill.evaluation.timing.compiling import Backend, Compiler, compiling, reason
from ardistill.evaluation.timing.memory import largest_of, unless_full
from ardistill.evaluation.timing.rounds import Bench, Laps
from ardistill.protocols import Progress

_COMPILING_CALLS = 2
"""Of each batch; the second compiles what depends on how sizes change."""


@attrs.frozen
class Timing:
    """Seconds an image of one row at one batch size: median, fastest and slowest of the repeats.

    `decoding` says whether latents are made into images, `largest` that no larger batch fits (see `largest_batch`).
    `peak_bytes` is the highest memory during the timed calls: on CUDA of all tensors, the weights included, elsewhere
    of the whole process; None where the system does not tell.
    """

    name: str
    batch: int
    decoding: bool
    compiled: bool
    seconds: float
    fastest: float
    slowest: float
    repeats: int
    peak_bytes: int | None = None
    largest: bool = False


@attrs.frozen(eq=False)
class Subject:
    """What is timed: `latents` makes (B, L, C) from B, which `decode` makes into images (B, channels, H, W)."""

    name: str
    latents: Callable[[int], Tensor]
    decode: Callable[[Tensor], Tensor]

    def images(self, batch: int) -> Tensor:
        return self.decode(self.latents(batch))

    def calls(self) -> Iterator[tuple[bool, Callable[[int], Tensor]]]:
        """Without and with decoding."""
        yield False, self.latents
        yield True, self.images


@attrs.frozen(eq=False)
class _Work:
    name: str
    decoding: bool
    compiled: bool
    call: Callable[[int], object]

    def timing(self, batch: int, laps: Laps, largest: int | None) -> Timing:
        each = [seconds / batch for seconds in laps.seconds]
        return Timing(
            self.name,
            batch,
            self.decoding,
            self.compiled,
            median(each),
            min(each),
            max(each),
            len(each),
            max(laps.peaks, default=None),
            batch == largest,
        )


@torch.no_grad()
def time_all(
    subjects: Sequence[Subject],
    *,
    batches: Sequence[int],
    repeats: int,
    device: torch.device,
    progress: Progress,
    largest: bool = False,
    compile: bool = False,  # noqa: A002
    warmup: int = 1,
    budget: float = 4.0,
    most: int = 1024,
    patience: float = 30.0,
    backend: Backend = "inductor",
    clock: Callable[[], float] = perf_counter,
) -> tuple[Timing, ...]:
    """Every subject at every batch size, with and without decoding; with `compile` also compiled.

    `largest` adds each subject's largest batch that fits, by doubling the last of `batches` up to `most` or until a
    call takes longer than `patience` seconds. The first `warmup` rounds are not counted, nor is compiling. Once
    `budget` seconds have gone into one batch size, three repeats are enough; `repeats` 0 times nothing. What cannot
    be compiled is left out with a warning, and silently what does not fit into a GPU's memory.
    """
    if repeats < 0 or warmup < 0 or not batches or min(batches) < 1:
        raise ValueError(f"cannot time {repeats} repeats of {list(batches)} images after {warmup} rounds")
    if not repeats:
        return ()
    bench = Bench(device, repeats, warmup, budget, clock, progress)
    ends: dict[str, int | None] = {}
    for done, subject in enumerate(subjects if largest else ()):
        call = partial(bench.elapsed_at, subject.images)
        ends[subject.name] = largest_of(call, batches, device, most=most, patience=patience)
        progress.advance(done + 1, len(subjects), "seeking the largest batch that fits")
    sizes = {each.name: sorted({*batches, ends.get(each.name) or batches[0]}) for each in subjects}
    works = [_Work(each.name, decoding, False, call) for each in subjects for decoding, call in each.calls()]
    timings = []
    with ExitStack() as stack:
        if compile:
            compiler = stack.enter_context(compiling(device, backend))
            for done, subject in enumerate(subjects):
                works += _compiled(subject, sizes[subject.name], compiler, bench)
                progress.advance(done + 1, len(subjects), "compiling")
        for batch in sorted(set().union(*sizes.values())):
            now = {work: partial(work.call, batch) for work in works if batch in sizes[work.name]}
            for work, laps in bench.rounds(now, f"timing batches of {batch}").items():
                timings.append(work.timing(batch, laps, ends.get(work.name)))
    return tuple(timings)


def _compiled(subject: Subject, sizes: Sequence[int], compiler: Compiler, bench: Bench) -> list[_Work]:
    """What `subject` does, compiled for these batches; nothing, and a warning, where that fails."""
    works = []
    for decoding, call in subject.calls():
        compiled = unless_full(partial(compiler.compiled, call, sizes[0]), bench.device)
        if compiled is not None:
            works.append(_Work(subject.name, decoding, True, compiled))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about its own insides
            for work, batch, _ in product(works, sizes, range(_COMPILING_CALLS)):
                unless_full(partial(work.call, batch), bench.device)
    except Exception as error:  # of torch.compile or of the compiler it needs: there are many kinds
        told = f"{subject.name} has no compiled timings, since torch.compile failed ({reason(error)})"
        logging.getLogger("ardistill").warning(told)
        return []
    return works


@attrs.frozen
class Summary:
    """What a row says of its speed: of one image alone, and in the largest batch at which all rows were timed.

    Seconds an image, eager, decoding included; ranges go from the fastest to the slowest repeat. None is what was not
    timed.
    """

    latency: float | None = None
    latency_range: tuple[float, float] | None = None
    seconds_per_image: float | None = None
    seconds_range: tuple[float, float] | None = None


def summary(timings: Iterable[Timing], name: str) -> Summary:
    """Of the row `name`, from the timings of all rows."""
    found: dict[str, dict[int, Timing]] = {}
    for timing in timings:
        if timing.decoding and not timing.compiled:
            found.setdefault(timing.name, {})[timing.batch] = timing
    own = found.get(name, {})
    alone = own.get(1)
    many = own.get(max(set(own).intersection(*found.values()), default=0))
    return Summary(
        latency=None if alone is None else alone.seconds,
        latency_range=None if alone is None else (alone.fastest, alone.slowest),
        seconds_per_image=None if many is None else many.seconds,
        seconds_range=None if many is None else (many.fastest, many.slowest),
    )
