"""What saving checkpoints costs the training of DD1's student of the digits' VAR, in time and in memory.

    python benchmarks/checkpoints.py
    python benchmarks/checkpoints.py rounds=31 every=5000 folder=/mnt/disk out=checkpoints.json

Blocks of `steps` steps take turns in one process: without a save, with one that is written at once, with one that is
written beside the steps (`checkpoint.asynchronous`). What a block with a save takes more, by the median of `rounds`,
is shared out among the steps of `every` images: seconds a step, and their ratio to those of training that never saves.
*Call* is how long the training stands still. *Peak* is the most memory of a block, and its ratio to a block without.
About three minutes.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from attrs.validators import ge, le

from ardistill.cli.terminal import print_table
from ardistill.config import CheckpointConfig, load, structure_words
from ardistill.config.section import plain
from ardistill.errors import ArdistillError
from ardistill.evaluation.report import hardware, versions
from ardistill.evaluation.timing.memory import peak
from ardistill.files import json_text, write_atomic
from ardistill.launch.parts import assemble
from ardistill.noise import Draw
from ardistill.plugins import discover
from ardistill.protocols import DistillMethod, Phase, RunContext
from ardistill.training.checkpoint import Checkpoints, Position, flatten
from ardistill.training.optimise import Optimiser, training_only

Saving = Literal["none", "synchronous", "asynchronous"]
SAVINGS: tuple[Saving, ...] = ("none", "synchronous", "asynchronous")
TIME_BOUND, MEMORY_BOUND = 1.02, 1.10
"""Ratios to training that never saves; that of time for asynchronous saving."""


@attrs.frozen(kw_only=True)
class Benchmark:
    every: int = attrs.field(default=CheckpointConfig().every, validator=ge(1))
    """Images between two checkpoints."""
    steps: int = attrs.field(default=6, validator=ge(1))
    rounds: int = attrs.field(default=15, validator=ge(1))
    n_pairs: int = attrs.field(default=1_000, validator=ge(1))
    batch: int = attrs.field(default=128, validator=ge(1))
    device: str = "cpu"
    threads: int = attrs.field(default=1, validator=[ge(1), le(4096)])
    folder: Path | None = None
    """Where checkpoints are written; without it, where temporary files are."""
    out: Path | None = None
    """A JSON file for the figures, with hardware, versions and configuration."""


@attrs.define
class Block:
    """What one block of steps took: all of it, the save's call, and the most memory."""

    seconds: float = 0.0
    call: float = 0.0
    peak: int | None = None


@attrs.frozen
class Figure:
    saving: Saving
    step: float
    call: float
    peak: int | None
    time_ratio: float
    memory_ratio: float | None

    @property
    def missed(self) -> bool:
        late = self.saving == "asynchronous" and self.time_ratio > TIME_BOUND
        return late or (self.memory_ratio is not None and self.memory_ratio > MEMORY_BOUND)


class _Silent:
    def advance(self, done: int, total: int, what: str) -> None: ...


@attrs.frozen(eq=False)
class Training:
    """A method in its first phase, which can take a step at a time."""

    method: DistillMethod
    phase: Phase
    role: str
    optimiser: Optimiser
    device: torch.device

    def step(self, number: int) -> None:
        images = number * self.phase.batch
        draw = Draw(0, "benchmarks/checkpoints", images, self.phase.batch, self.device)
        with training_only(self.phase.roles[self.role].module, self.method.modules):
            losses = self.phase.losses(self.role, draw)
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            self.optimiser.step(images, 1 << 40)

    @property
    def n_bytes(self) -> int:
        """Of what a checkpoint holds."""
        tensors = [*flatten(self.method.modules).values(), *self.optimiser.state().values()]
        return sum(tensor.nbytes for tensor in tensors)


@contextmanager
def training(config: Benchmark, folder: Path) -> Iterator[Training]:
    registry = discover()
    words = ["method=dd1", "teacher=var", f"method.n_pairs={config.n_pairs}", f"method.batch={config.batch}"]
    run = load([*words, f"device={config.device}", f"threads={config.threads}"], registry=registry)
    parts = assemble(run, registry)
    torch.set_num_threads(config.threads)
    context = RunContext(0, folder, parts.device, parts.own_features)
    method: DistillMethod = registry.load("method", "dd1")(run.method.settings, parts.teacher, context)
    method.prepare(_Silent())
    phase = method.phases()[0]
    phase.begin()
    role = phase.role(0)
    yield Training(method, phase, role, Optimiser(phase.roles[role]), parts.device)


def block(saving: Saving, training: Training, config: Benchmark, folder: Path, number: int) -> Block:
    """A save, or none, then the steps, then whatever is still being written."""
    found = Block()
    checkpoints = Checkpoints(folder, asynchronous=saving == "asynchronous")
    with peak(training.device) as highest:
        began = time.perf_counter()
        if saving != "none":
            position = Position(training.phase.name, total_images=number)
            checkpoints.save(position, training.method.modules, {training.role: training.optimiser})
        found.call = time.perf_counter() - began
        for step in range(config.steps):
            training.step(number * config.steps + step)
        checkpoints.close()
        if training.device.type == "cuda":
            torch.cuda.synchronize(training.device)
        found.seconds = time.perf_counter() - began
    found.peak = highest.bytes
    return found


def measure(config: Benchmark) -> tuple[list[Figure], int]:
    """The figures, and the bytes of a checkpoint."""
    blocks: dict[Saving, list[Block]] = {saving: [] for saving in SAVINGS}
    with tempfile.TemporaryDirectory(dir=config.folder) as base, training(config, Path(base)) as trained:
        for turn in range(config.rounds + 1):
            for place in range(len(SAVINGS)):
                # Who goes first changes, so that a machine that slows down favours none.
                saving = SAVINGS[(place + turn) % len(SAVINGS)]
                number = turn * len(SAVINGS) + place + 1
                found = block(saving, trained, config, Path(base) / "checkpoints", number)
                if turn:
                    blocks[saving].append(found)
        return _figures(config, trained.phase, blocks), trained.n_bytes


def _figures(config: Benchmark, phase: Phase, blocks: Mapping[Saving, Sequence[Block]]) -> list[Figure]:
    seconds = {saving: [one.seconds for one in blocks[saving]] for saving in SAVINGS}
    peaks = {saving: [one.peak for one in blocks[saving] if one.peak is not None] for saving in SAVINGS}
    bare = statistics.median(seconds["none"]) / config.steps
    figures = []
    for saving in SAVINGS:
        more = [one - other for one, other in zip(seconds[saving], seconds["none"], strict=True)]
        step = bare + statistics.median(more) * phase.batch / max(phase.batch, config.every)
        highest = max(peaks[saving], default=None)
        memory_ratio = None if highest is None else highest / max(peaks["none"])
        call = statistics.median(one.call for one in blocks[saving])
        figures.append(Figure(saving, step, call, highest, step / bare, memory_ratio))
    return figures


def run(words: Sequence[str]) -> tuple[list[Figure], int]:
    """All figures, and the bytes of a checkpoint; writes `out` where it is given."""
    config = structure_words(words, Benchmark)
    figures, n_bytes = measure(config)
    if config.out is not None:
        record: dict[str, Any] = {
            "figures": [attrs.asdict(figure) for figure in figures],
            "bytes": n_bytes,
            "config": plain(config),
            "hardware": hardware(config.device),
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomic(config.out, json_text(record))
    return figures, n_bytes


def _show(figures: Sequence[Figure], n_bytes: int) -> None:
    columns = ("saving", "s/step", "ratio", "call ms", "peak MB", "ratio", "")
    print_table(
        [
            (
                figure.saving,
                f"{figure.step:.4f}",
                f"{figure.time_ratio:.4f}",
                f"{1e3 * figure.call:.1f}",
                "-" if figure.peak is None else f"{figure.peak / 1e6:.0f}",
                "-" if figure.memory_ratio is None else f"{figure.memory_ratio:.3f}",
                "MISSED" if figure.missed else "ok",
            )
            for figure in figures
        ],
        columns,
    )
    told = {**hardware(), **versions()}
    print(f"\na checkpoint of {n_bytes / 1e6:.1f} MB; bounds: {TIME_BOUND} and {MEMORY_BOUND}")
    print(", ".join(f"{what} {value}" for what, value in told.items()))


def main(words: Sequence[str]) -> int:
    if {"-h", "--help"} & set(words):
        print((__doc__ or "").strip())
        return 0
    try:
        figures, n_bytes = run(words)
    except ArdistillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    _show(figures, n_bytes)
    return int(any(figure.missed for figure in figures))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
