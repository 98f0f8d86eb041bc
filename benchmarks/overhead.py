"""What the engine costs: its training steps beside those of a bare loop, and its memory while it saves.

    python benchmarks/overhead.py
    python benchmarks/overhead.py model=digits-dd2 both=true
    python benchmarks/overhead.py model=var-d16-dd1 out=overhead.json

The bare loop draws, computes the losses, goes back, clips, takes the step of a fused AdamW and moves the average: no
checks, schedules, records, progress, signals or checkpoints. The engine is `Trainer` with all of them, as `run` has it.
Both train the same network on the same kind of batches. Their blocks of `steps` steps take turns in one process; a
block of the engine ends with a record, and every third one begins with a save, whose end it waits for.

*Ratio* is the median, over rounds, of a block's time to the bare one's of the same round. A save's cost is what its
block and the next, which has to take its memory anew, take more than two without, by the median; it is shared out among
the steps of `every` images. *CPU* is the same
ratio of the process's CPU time, threads beside the loop included, which a busy machine disturbs less; it is not
judged. *Peak* is the most memory of a block, and its ratio to the engine's without a save.

Each loop runs in a thread of its own, where signals are not listened to: that costs nothing until one comes. Left out
is the picture of 40 samples that `run` draws after a save. DD1 learns from random tokens, and `var-d16-dd1` is of
random weights: they cost what real ones do. Minutes; `var-d16-dd1` takes 14 GB and, on a CPU, a quarter of an hour.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch
from attrs.validators import ge, le
from overhead_parts.loops import Bare, engine
from overhead_parts.models import SIZES, Model, Size, method_of

from ardistill.cli.terminal import print_table
from ardistill.config import CheckpointConfig, structure_words
from ardistill.config.section import plain
from ardistill.config.training import TrainConfig
from ardistill.errors import ArdistillError
from ardistill.evaluation.report import hardware, versions
from ardistill.evaluation.timing.memory import peak
from ardistill.files import json_text, write_atomic
from ardistill.launch.parts import usable

TIME_BOUND, MEMORY_BOUND = 1.03, 1.10
"""Ratios: of time to the bare loop's, of memory while saving to the engine's otherwise."""
_BLOCKS = 100
"""In a phase, so that each of them ends with one of the phase's hundred records."""
_SAVING = "engine, saving"


@attrs.frozen(kw_only=True)
class Benchmark:
    model: Model = "digits-dd1"
    batch: int = attrs.field(default=0, validator=ge(0))
    """Images a step; here and in the next two 0 is the model's own."""
    steps: int = attrs.field(default=0, validator=ge(0))
    rounds: int = attrs.field(default=0, validator=[ge(0), le(_BLOCKS // 3 - 2)])
    every: int = attrs.field(default=CheckpointConfig().every, validator=ge(1))
    """Images between two checkpoints."""
    both: bool = False
    """Also the engine with the other value of `train.prefetch`."""
    device: str = "cpu"
    threads: int = attrs.field(default=1, validator=[ge(1), le(4096)])
    folder: Path | None = None
    """Where checkpoints are written; without it, where temporary files are."""
    out: Path | None = None
    """A JSON file for the figures, with hardware, versions and configuration."""

    @property
    def size(self) -> Size:
        own = SIZES[self.model]
        return Size(self.batch or own.batch, self.steps or own.steps, self.rounds or own.rounds)


@attrs.frozen
class Figure:
    """Seconds a step, ratios to the bare loop's, and the most memory with its ratio to the engine's."""

    loop: str
    step: float
    time_ratio: float
    cpu_ratio: float
    peak: int | None
    memory_ratio: float | None

    @property
    def missed(self) -> bool:
        return self.time_ratio > TIME_BOUND or (self.memory_ratio or 0) > MEMORY_BOUND


@attrs.frozen
class Lap:
    """A block's time, CPU time and most memory."""

    seconds: float
    cpu: float
    peak: int | None


def _lap(block: Callable[[], object], device: torch.device) -> Lap:
    with peak(device) as highest:
        began, busy = time.perf_counter(), time.process_time()
        block()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    return Lap(seconds, cpu, highest.bytes)


def measure(config: Benchmark) -> list[Figure]:
    torch.set_num_threads(config.threads)
    device, size, default = usable(config.device), config.size, TrainConfig().prefetch
    images = size.steps * size.batch
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=config.folder)))
        method = method_of(config.model, size, _BLOCKS * images, folder, device)
        thread = stack.enter_context(ThreadPoolExecutor(1))  # as the engine has: memory is a thread's own
        bare = partial(Bare(method, device).block, size.steps)
        blocks: dict[str, Callable[[], object]] = {"bare": lambda: thread.submit(bare).result()}
        started = partial(engine, method, size.steps, device=device)
        own = stack.enter_context(started(3 * images, folder / "own", prefetch=default))
        if config.both:
            other = started(_BLOCKS * images, folder / "other", prefetch=not default)
            blocks[f"engine, prefetch={not default}".lower()] = stack.enter_context(other)
        blocks |= {"engine": own, _SAVING: lambda: (own(), own())}
        for warm in blocks.values():
            _lap(warm, device)
        laps: dict[str, list[Lap]] = {name: [] for name in blocks}
        *others, saving = blocks
        for turn in range(size.rounds):
            # Who goes first changes, so that a machine that slows down favours none.
            first = turn % len(others)
            for name in (saving, *others[first:], *others[:first]):
                laps[name].append(_lap(blocks[name], device))
    return figures(laps, config)


def figures(laps: Mapping[str, Sequence[Lap]], config: Benchmark) -> list[Figure]:
    """From the laps of each loop, round by round; one with a save is of two blocks."""
    size = config.size
    usual = statistics.median(lap.seconds for lap in laps["bare"]) / size.steps
    highest = {name: max((lap.peak for lap in some if lap.peak), default=None) for name, some in laps.items()}
    seconds = _ratios({name: [lap.seconds for lap in some] for name, some in laps.items()}, config)
    cpu = _ratios({name: [lap.cpu for lap in some] for name, some in laps.items()}, config)
    found = []
    for name in laps:
        high, base = highest[name], highest["engine"]
        memory = high / base if name == _SAVING and high and base else None
        found.append(Figure(name, usual * seconds[name], seconds[name], cpu[name], high, memory))
    return found


def _ratios(times: Mapping[str, Sequence[float]], config: Benchmark) -> dict[str, float]:
    """Of each loop's blocks to the bare ones; where it saves, of the engine's with their share of what that takes."""
    bare, size = times["bare"], config.size
    found = {
        name: statistics.median(one / other for one, other in zip(some, bare, strict=True))
        for name, some in times.items()
    }
    more = statistics.median(
        one - 2 * other for one, other in zip(times[_SAVING], times["engine"], strict=True)
    )
    share = size.steps * size.batch / max(size.batch, config.every)
    return found | {_SAVING: found["engine"] + share * more / statistics.median(bare)}


def run(words: Sequence[str]) -> tuple[list[Figure], Benchmark]:
    """All figures, and the words' meaning; writes `out` where it is given."""
    config = structure_words(words, Benchmark)
    found = measure(config)
    if config.out is not None:
        record: dict[str, Any] = {
            "figures": [attrs.asdict(figure) for figure in found],
            "config": {**plain(config), **attrs.asdict(config.size)},
            "hardware": hardware(config.device),
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomic(config.out, json_text(record))
    return found, config


def _show(found: Sequence[Figure], config: Benchmark) -> None:
    size = config.size
    print_table(
        [
            (
                figure.loop,
                f"{figure.step:.4f}",
                f"{figure.time_ratio:.4f}",
                f"{figure.cpu_ratio:.4f}",
                "-" if figure.peak is None else f"{figure.peak / 1e6:.0f}",
                "-" if figure.memory_ratio is None else f"{figure.memory_ratio:.3f}",
                "MISSED" if figure.missed else "ok",
            )
            for figure in found
        ],
        ("loop", "s/step", "ratio", "CPU", "peak MB", "ratio", ""),
    )
    print(
        f"\n{config.model}: batches of {size.batch}, {size.rounds} rounds of {size.steps} steps, a save every "
        f"{config.every} images; bounds: {TIME_BOUND} and {MEMORY_BOUND}"
    )
    told = {**hardware(config.device), **versions()}
    print(", ".join(f"{what} {value}" for what, value in told.items()))


def main(words: Sequence[str]) -> int:
    if {"-h", "--help"} & set(words):
        print((__doc__ or "").strip())
        return 0
    try:
        found, config = run(words)
    except ArdistillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    _show(found, config)
    return int(any(figure.missed for figure in found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
