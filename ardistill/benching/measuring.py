"""The measuring: what it costs, what the device reaches, and every generator in every mode and batch, in turns.

What was begun is finished, and what no time is left for is named with the reason.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from time import perf_counter

import attrs
import torch
from torch import Tensor, nn

from ardistill.benching.generators import Generator
from ardistill.benching.result import LeftOut
from ardistill.benching.staging import Decode, Networks, Staged, compiled, eager, graphed
from ardistill.config.bench import Mode
from ardistill.errors import ConfigError
from ardistill.evaluation.timing.ceilings import Ceilings, ceilings
from ardistill.evaluation.timing.compiling import Backend, Compiler, compiling, reason
from ardistill.evaluation.timing.costs import Cost, cost_of
from ardistill.evaluation.timing.memory import largest_of, unless_full
from ardistill.evaluation.timing.rounds import Bench, Laps
from ardistill.forwards import packed
from ardistill.protocols import Progress

_SHARE = 0.1
"""Of the time left: where a call took longer, no larger batch is tried."""
NO_TIME, FULL, NO_NETWORK = "no time was left", "it does not fit into memory", "it calls no network"
_LEAST_CALLS: dict[Mode, int] = {"eager": 2, "compiled": 5, "graph": 6, "compiled-graph": 9}
"""Of each, to be made and timed once."""


@attrs.frozen
class Wanted:
    """As the words of `bench` have it."""

    batches: tuple[int, ...]
    modes: tuple[Mode, ...]
    repeats: int
    budget: float
    largest: bool = False
    most: int = 1024


@attrs.frozen(eq=False)
class Cell:
    """The calls of one generator in one mode and batch; the three stages' seconds are in `laps.stages`."""

    generator: Generator
    mode: Mode
    batch: int
    laps: Laps
    largest: bool


@attrs.frozen(eq=False)
class Measured:
    """All that was found; costs are those of one image, by the generator's name."""

    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...]
    ceilings: Ceilings
    tokens: dict[str, Cost]
    decode: Cost
    seconds: float


@attrs.define(eq=False)
class _Measuring:
    generators: Sequence[Generator]
    decode: Decode
    wanted: Wanted
    bench: Bench
    compiler: Compiler | None
    left_out: list[LeftOut] = attrs.field(factory=list)
    eager_seconds: dict[tuple[str, int], float] = attrs.field(factory=dict)
    networks: dict[str, Networks] = attrs.field(factory=dict)
    broken: dict[tuple[str, Mode], str] = attrs.field(factory=dict)

    @property
    def left(self) -> float:
        return self.bench.deadline - self.bench.clock()

    def leave_out(self, generator: Generator, mode: Mode, batch: int | None, why: str) -> None:
        self.left_out.append(LeftOut(generator.name, mode, batch, why))

    def eager_call(self, generator: Generator, batch: int) -> float:
        """Its seconds, which are kept."""
        seconds = sum(self.bench.splits(eager(generator, self.decode, batch).stages))
        self.eager_seconds[generator.name, batch] = seconds
        return seconds

    def expected(self, generator: Generator, batch: int) -> float:
        """Seconds of an eager call, from the nearest smaller batch: at most as many times as long as it is larger."""
        known = [b for name, b in self.eager_seconds if name == generator.name and b <= batch]
        if not known:
            return 0.0
        return self.eager_seconds[generator.name, max(known)] * batch / max(known)

    def ends(self) -> dict[str, int | None]:
        """The largest batch of each, where it was asked for; where the machine does not tell, None."""
        found: dict[str, int | None] = {}
        for done, each in enumerate(self.generators if self.wanted.largest else ()):
            patience = max(_SHARE * self.left, 0.0)
            found[each.name] = largest_of(
                partial(self.eager_call, each),
                self.wanted.batches,
                self.bench.device,
                most=self.wanted.most,
                patience=patience,
            )
            self.bench.progress.advance(done + 1, len(self.generators), "seeking the largest batch that fits")
        return found

    def batch(
        self, batch: int, modes: Sequence[Mode], chosen: Iterable[Generator], share: float
    ) -> dict[tuple[str, Mode], Laps]:
        """All that can be timed at one batch, in turns, with a share of the time that is left."""
        works: dict[tuple[str, Mode], Staged] = {}
        for generator in chosen:
            for mode in modes:
                made = self._prepared(generator, mode, batch)
                if isinstance(made, str):
                    self.leave_out(generator, mode, batch, made)
                else:
                    works[generator.name, mode] = made
        if not works:
            return {}
        deadline = self.bench.clock() + share * max(self.left, 0.0)
        bench = attrs.evolve(self.bench, deadline=deadline)
        stages = {key: work.stages for key, work in works.items()}
        found = bench.staged(stages, f"timing batches of {batch}")
        for key, work in works.items():
            if key not in found:
                name, mode = key
                self.left_out.append(LeftOut(name, mode, batch, FULL))
            elif work.peak_bytes is not None:
                found[key].peaks.append(work.peak_bytes)
        for key, laps in found.items():
            if key[1] == "eager":
                self.eager_seconds[key[0], batch] = min(laps.seconds)
        return found

    def _prepared(self, generator: Generator, mode: Mode, batch: int) -> Staged | str:
        """The work, or why it can't be done."""
        once = self.expected(generator, batch)
        always = mode == "eager" and batch == self.wanted.batches[0]
        if self.left < _LEAST_CALLS[mode] * once and not always:
            return NO_TIME
        if mode == "eager":
            return eager(generator, self.decode, batch)
        if (why := self.broken.get((generator.name, mode))) is not None:
            return why
        try:
            made = unless_full(partial(self._made, generator, mode, batch), self.bench.device)
        except Exception as error:  # of torch.compile, of its compiler, of CUDA: there are many kinds
            why = self.broken[generator.name, mode] = f"it failed ({reason(error)})"
            return why
        return FULL if made is None else made

    def _made(self, generator: Generator, mode: Mode, batch: int) -> Staged | str:
        if mode == "graph":
            return graphed(eager(generator, self.decode, batch), self.bench.device)
        assert self.compiler is not None
        if generator.name not in self.networks:
            self.networks[generator.name] = Networks.of(generator, self.decode, batch, self.compiler)
        networks = self.networks[generator.name]
        if not networks.tokens and not networks.decode:
            return NO_NETWORK
        made = compiled(generator, self.decode, batch, networks)
        return graphed(made, self.bench.device) if mode == "compiled-graph" else made


@torch.no_grad()
def measure(
    generators: Sequence[Generator],
    decode: Decode,
    networks: Sequence[nn.Module],
    dtype: torch.dtype,
    wanted: Wanted,
    *,
    device: torch.device,
    progress: Progress,
    backend: Backend = "inductor",
    clock: Callable[[], float] = perf_counter,
) -> Measured:
    """The first generator is the one that others are compared with; `networks` are all that they are made of.

    They run as `sample` runs them, `packed`.
    """
    began = clock()
    bench = Bench(device, wanted.repeats, 1, wanted.budget, clock, progress, began + wanted.budget)
    first = wanted.batches[0]
    best = ceilings(bench, dtype)
    counted = unless_full(partial(_costs, generators, decode, first, networks), device)
    if counted is None:
        raise ConfigError(
            f"a batch of {first} does not fit into the memory of {device}; give smaller batches"
        )
    tokens, decoding = counted
    with ExitStack() as stack:
        stack.enter_context(packed(*networks))
        compiler = None
        if any(mode.startswith("compiled") for mode in wanted.modes):
            compiler = stack.enter_context(compiling(device, backend))
        work = _Measuring(generators, decode, wanted, bench, compiler)
        for each in generators:
            work.eager_call(each, first)
        ends = work.ends()
        sizes = {each.name: {*wanted.batches, ends.get(each.name) or first} for each in generators}
        cells: list[Cell] = []
        turns = list(product(_groups(wanted.modes), sorted(set().union(*sizes.values()))))
        for done, (modes, batch) in enumerate(turns):
            chosen = [each for each in generators if batch in sizes[each.name]]
            found = work.batch(batch, modes, chosen, 1 / (len(turns) - done))
            cells += [
                Cell(each, mode, batch, found[each.name, mode], batch == ends.get(each.name))
                for mode in modes
                for each in chosen
                if (each.name, mode) in found
            ]
        cells.sort(key=lambda cell: (cell.batch, wanted.modes.index(cell.mode)))
        for each in generators:
            if wanted.largest and ends.get(each.name) is None:
                work.leave_out(each, "eager", None, "no largest batch: the system does not tell its memory")
    return Measured(tuple(cells), tuple(work.left_out), best, tokens, decoding, clock() - began)


def _groups(modes: Sequence[Mode]) -> list[list[Mode]]:
    """What takes turns: compiling may take all the time, so what needs none of it comes before, at every batch."""
    groups = [[mode for mode in modes if mode.startswith("compiled") is late] for late in (False, True)]
    return [group for group in groups if group]


def _costs(
    generators: Sequence[Generator], decode: Decode, batch: int, networks: Sequence[nn.Module]
) -> tuple[dict[str, Cost], Cost]:
    """Operations of one image, bytes of weights that a call reads: they are read once for all its images."""
    parameters = [each for network in networks for each in network.parameters()]
    found: dict[str, Cost] = {}
    decoding = Cost(0, 0)
    for each in generators:
        numbers = each.draw(batch)
        made: list[Tensor] = []
        cost = cost_of(partial(_collect, made, partial(each.latents, *numbers)), parameters)
        found[each.name] = attrs.evolve(cost, flops=cost.flops // batch)
        if not decoding.flops:
            cost = cost_of(partial(decode, made[0]), parameters)
            decoding = attrs.evolve(cost, flops=cost.flops // batch)
    return found, decoding


def _collect(made: list[Tensor], call: Callable[[], Tensor]) -> None:
    made.append(call())
