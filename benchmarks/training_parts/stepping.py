"""Updates by the engine's own step, in turns with guided passes of the teacher over as many images.

Shape legend: B batch, L tokens, C code width.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from time import perf_counter, process_time

import attrs
import torch

from ardistill.errors import ConfigError
from ardistill.evaluation.timing.rounds import Bench, Laps
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, DistillMethod, Phase, Progress
from ardistill.training.blocks import prepare_blocks
from ardistill.training.optimise import Optimiser
from ardistill.training.precision import LossScale, computing
from ardistill.training.prefetch import Prefetch
from ardistill.training.signals import Signals
from ardistill.training.step import Engine, Step
from training_parts.result import STEP_BOUND, Row

_PASS = "a guided pass"
_JUDGED = {("dd2", "guidance"), ("dd2", "generator")}
"""Method and role of the steps that have a bound, with teachers large enough for it to mean something."""


@attrs.frozen
class Wanted:
    """How often, how long at most (in seconds), which phases (all where none is named), whether bounds are judged."""

    repeats: int
    budget: float
    phases: Sequence[str]
    judged: bool


@attrs.define(eq=False)
class _Updates:
    """A role's updates, one a call, each from the images after those of the one before."""

    step: Step
    phase: Phase
    role: str
    optimiser: Optimiser
    signals: Signals
    images: int = 0

    def __call__(self) -> None:
        self.step(self.phase, self.role, self.optimiser, self.images, self.signals, self.role)
        self.images += self.phase.batch


@attrs.define(eq=False)
class _Metered:
    """A piece of work that notes the process's CPU time of every call, which waits for no GPU."""

    work: Callable[[], object]
    cpu: list[float] = attrs.field(factory=list)

    def __call__(self) -> None:
        began = process_time()
        self.work()
        self.cpu.append(process_time() - began)


def guided_pass(teacher: ARTeacher, batch: int, engine: Engine, device: torch.device) -> Callable[[], object]:
    """The teacher's distributions of all tokens of `batch` images, as training asks it for them."""
    draw = Draw(0, "benchmarks/training", 0, batch, device)
    condition = Condition(draw.integers("label", teacher.n_classes))
    codes_VC = teacher.tokenizer.codebook
    latents_BLC = codes_VC[draw.integers("token", len(codes_VC), teacher.layout.n_tokens)]

    @torch.no_grad()
    def call() -> None:
        with computing(engine.precision, device):
            teacher.log_probs(condition, latents_BLC)

    return call


def rows(
    name: str,
    method: DistillMethod,
    teacher: ARTeacher,
    engine: Engine,
    wanted: Wanted,
    device: torch.device,
    progress: Progress,
) -> Iterator[Row]:
    """Of every phase and role. Raises ConfigError for a phase that there is none of, or a batch that does not fit."""
    every, deadline = method.phases(), perf_counter() + wanted.budget
    phases = [phase for phase in every if not wanted.phases or phase.name in wanted.phases]
    if not phases:
        known = ", ".join(phase.name for phase in every)
        raise ConfigError(f"{name} has no phase {', '.join(wanted.phases)}; give phases={known}")
    engine.check(phases)
    networks = [role.module for phase in phases for role in phase.roles.values()]
    prepare_blocks(networks, compile=engine.compile, checkpointing=engine.checkpointing)
    for index, phase in enumerate(phases):
        share = (deadline - perf_counter()) / (len(phases) - index)
        bench = Bench(
            device,
            wanted.repeats,
            2 if engine.compile else 1,  # the second compiles what depends on what changes
            share,
            perf_counter,
            progress,
            perf_counter() + share,
        )
        forced = guided_pass(teacher, engine.micro_batch, engine, device)
        laps, works = _timed(phase, method, forced, engine, bench)
        if set(laps) != {_PASS, *phase.roles}:
            raise ConfigError(
                f"{engine.micro_batch} images do not fit into the memory of {device}; give fewer"
            )
        for role in phase.roles:
            bound = STEP_BOUND if wanted.judged and (name, role) in _JUDGED else None
            passes = -(-phase.batch // engine.micro_batch)
            row = _row(name, phase, role, laps, passes, bound)
            if device.type == "cpu":
                row = attrs.evolve(row, cpu_passes=_cpu_passes(works, role, row.repeats, passes))
            yield row


def _timed(
    phase: Phase, method: DistillMethod, forced: Callable[[], object], engine: Engine, bench: Bench
) -> tuple[dict[str, Laps], dict[str, _Metered]]:
    """Of the pass and of every role, whose optimisers all stay in memory as they do in training."""
    phase.begin()
    works = {_PASS: _Metered(forced)}
    with ExitStack() as stack:
        for role in phase.roles:
            prefetch = stack.enter_context(Prefetch(bench.device, wanted=engine.prefetch))
            step = Step(engine, method.modules, 0, bench.device, prefetch)
            scale = LossScale() if engine.precision == "fp16" else None
            optimiser = Optimiser(phase.roles[role], scale, engine.world)
            works[role] = _Metered(_Updates(step, phase, role, optimiser, Signals()))
        return bench.rounds(works, f"timing {phase.name}"), works


def _row(name: str, phase: Phase, role: str, laps: dict[str, Laps], passes: int, bound: float | None) -> Row:
    """`passes` is how many passes go over an update's images."""
    seconds = laps[role].seconds
    of_passes = [passes * each for each in laps[_PASS].seconds]
    return Row(
        method=name,
        phase=phase.name,
        role=role,
        images=phase.batch,
        repeats=len(seconds),
        seconds=statistics.median(seconds),
        fastest=min(seconds),
        slowest=max(seconds),
        pass_seconds=statistics.median(of_passes),
        passes=statistics.median(one / other for one, other in zip(seconds, of_passes, strict=True)),
        peak_bytes=max(laps[role].peaks, default=None),
        bound=bound,
    )


def _cpu_passes(works: Mapping[str, _Metered], role: str, repeats: int, passes: int) -> float:
    """`Row.passes` by CPU time, of the counted calls, which are the last."""
    times = zip(works[role].cpu[-repeats:], works[_PASS].cpu[-repeats:], strict=True)
    return statistics.median(one / other / passes for one, other in times)
