"""The loop: phase after phase, one role's update at a time, from wherever the last checkpoint stands."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ardistill.protocols import DistillMethod, Phase, Progress
from ardistill.training.blocks import prepare_blocks
from ardistill.training.checkpoint import Checkpoints, Position, restore, restore_optimisers
from ardistill.training.faults import Interrupted, TrainingError, WorldError
from ardistill.training.journal import Journal, Means
from ardistill.training.optimise import Optimiser
from ardistill.training.precision import LossScale
from ardistill.training.prefetch import Prefetch
from ardistill.training.sharding import shard
from ardistill.training.signals import Signals, name_of
from ardistill.training.step import Engine, Step

__all__ = ["Trainer", "TrainingError", "images_taken"]

_RECORDS_PER_PHASE = 100


def images_taken(phase: Phase) -> int:
    """How many images the phase has taken at its end: whole batches."""
    return -(-phase.images // phase.batch) * phase.batch


@attrs.define
class Trainer:
    """Trains a method to the end of its last phase; one without phases has nothing to train.

    Every draw derives from (seed, phase, image index), so the run is the same whether or not it was interrupted.
    `on_checkpoint(total_images)` is called after each save. `watch(total_images, seconds of training)` is called
    whenever another `watch_every` images are done, before a checkpoint of the same moment, so that a kill between the
    two costs a repetition and no record; 0 is never. Its time does not count as training.

    Of several processes all call `run`; the first one alone records, saves and watches, and needs a journal. SIGTERM,
    SIGINT or SIGUSR2 to any of them ends the step and saves; `run` then raises Interrupted in all of them.
    """

    method: DistillMethod
    seed: int
    device: torch.device
    checkpoints: Checkpoints
    every: int
    journal: Journal | None
    progress: Progress
    on_checkpoint: Callable[[int], None] = lambda _: None
    watch: Callable[[int, float], None] = lambda *_: None
    watch_every: int = 0
    on_step: Callable[[str, int, Mapping[str, Tensor]], None] = lambda *_: None
    """Called after each update with its phase, the run's images and what there is to log."""
    showing: Callable[[], AbstractContextManager[object]] = nullcontext
    """Entered by every process around what the first one does in `on_checkpoint` and in `watch`."""
    engine: Engine = attrs.field(factory=Engine)
    _signals: Signals = attrs.field(factory=Signals, init=False)
    _prefetch: Prefetch = attrs.field(
        default=attrs.Factory(
            lambda self: Prefetch(self.device, wanted=self.engine.prefetch), takes_self=True
        ),
        init=False,
    )

    def run(self) -> Mapping[str, float]:
        """Returns the seconds each phase took, over all sessions of the run."""
        phases = self.method.phases()
        self.engine.check(phases)
        with self.checkpoints, self._signals, self._prefetch:
            found = self._found()
            seconds: dict[str, float] = {}
            total, first = 0, 0
            if self.engine.sharded:
                shard(self.method.modules, self.engine.world)
            if found is not None:
                path, position = found
                restore(path, self.method.modules)
                seconds, total = dict(position.seconds), position.total_images
                first = [phase.name for phase in phases].index(position.phase)
            self._prepare_blocks(phases)
            for index in range(first, len(phases)):
                phase = phases[index]
                optimisers = {name: self._optimiser(phase, name) for name in phase.roles}
                if found is not None and index == first:
                    restore_optimisers(path, position, optimisers)
                else:
                    phase.begin()
                    position = Position(phase.name, seconds=seconds, total_images=total)
                position = self._train(phase, position, optimisers)
                seconds, total = dict(position.seconds), position.total_images
        return seconds

    def _found(self) -> tuple[Path, Position] | None:
        """The newest checkpoint, the same for all processes; the first one looks before the others do."""
        world = self.engine.world
        found = world.in_turn(self.checkpoints.latest)
        total = -1 if found is None else found[1].total_images
        if world.agree([total, -total]) != [total, -total]:
            raise WorldError(
                "the processes do not find the same checkpoint; give a run folder that all of them see"
            )
        return found

    def _prepare_blocks(self, phases: Sequence[Phase]) -> None:
        networks = [role.module for phase in phases for role in phase.roles.values()]
        prepare_blocks(networks, compile=self.engine.compile, checkpointing=self.engine.checkpointing)

    def _optimiser(self, phase: Phase, role: str) -> Optimiser:
        scale = LossScale() if self.engine.precision == "fp16" else None
        return Optimiser(phase.roles[role], scale, self.engine.world)

    def _train(self, phase: Phase, position: Position, optimisers: Mapping[str, Optimiser]) -> Position:
        step = Step(self.engine, self.method.modules, self.seed, self.device, self._prefetch)
        spent, began = position.seconds.get(phase.name, 0.0), time.perf_counter()
        base, saved = position.total_images - position.images, position.images
        record_every = max(1, phase.images // _RECORDS_PER_PHASE)
        images, update, running = position.images, position.update, Means()
        before_this = sum(seconds for name, seconds in position.seconds.items() if name != phase.name)

        def here() -> Position:
            return Position(
                phase=phase.name,
                images=images,
                update=update,
                role_updates={name: optimiser.updates for name, optimiser in optimisers.items()},
                seconds={**position.seconds, phase.name: spent + time.perf_counter() - began},
                total_images=base + images,
            )

        while images < phase.images:
            role = phase.role(update)
            then = phase.role(update + 1) if images + phase.batch < phase.images else ""
            values, signal = step(phase, role, optimisers[role], images, self._signals, then)
            running.add(role, values)
            before, images, update = images, images + phase.batch, update + 1
            finished = images >= phase.images
            self.on_step(phase.name, base + images, values)
            if self.journal and (finished or images // record_every > before // record_every):
                self.journal.record(phase.name, base + images, running.take())
            self.progress.advance(min(images, phase.images), phase.images, phase.name)
            if self.watch_every and (base + images) // self.watch_every > (base + before) // self.watch_every:
                began += self._watch(base + images, before_this + spent + time.perf_counter() - began)
            if finished or signal or images - saved >= self.every:
                self._save(here, optimisers)
                saved = images
                signal = signal or self._caught()  # which came meanwhile, and needs no save of its own
            if signal:
                self._leave(signal, base + images)
        return here()

    def _caught(self) -> int:
        """The signal that any process has met."""
        return self.engine.world.agree([self._signals.caught])[0]

    def _watch(self, images: int, seconds: float) -> float:
        """Returns the seconds it took."""
        paused = time.perf_counter()
        with self.showing(), self._signals.suspended():
            self.engine.world.by_first(lambda: self.watch(images, seconds))
        return time.perf_counter() - paused

    def _save(self, here: Callable[[], Position], optimisers: Mapping[str, Optimiser]) -> None:
        position, modules, world = here(), self.method.modules, self.engine.world
        if self.engine.sharded:
            self.checkpoints.save_together(position, modules, optimisers, world)
        else:
            world.by_first(lambda: self.checkpoints.save(position, modules, optimisers))
        with self.showing():
            world.by_first(lambda: self.on_checkpoint(position.total_images))

    def _leave(self, signal: int, images: int) -> None:
        """Raises Interrupted, once everything is on the disk."""
        self.engine.world.by_first(self.checkpoints.close)
        folder = shlex.quote(str(self.checkpoints.folder.parent))
        raise Interrupted(
            f"stopped by {name_of(signal)} at image {images}; go on with: python -m ardistill run resume={folder}"
        )
