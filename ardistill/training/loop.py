"""The loop: phase after phase, one role's update at a time, from wherever the last checkpoint stands."""

import time
from collections.abc import Callable, Mapping

import attrs
import torch
from torch import Tensor

from ardistill.errors import ArdistillError
from ardistill.noise import Draw
from ardistill.protocols import DistillMethod, Phase, Progress
from ardistill.training.checkpoint import Checkpoints, Position, restore, restore_optimisers
from ardistill.training.journal import Journal
from ardistill.training.optimise import Optimiser, training_only

_RECORDS_PER_PHASE = 100


class TrainingError(ArdistillError):
    """Training cannot go on, e.g. a loss is not finite."""

    exit_code = 3


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
    """

    method: DistillMethod
    seed: int
    device: torch.device
    checkpoints: Checkpoints
    every: int
    journal: Journal
    progress: Progress
    on_checkpoint: Callable[[int], None] = lambda _: None
    watch: Callable[[int, float], None] = lambda *_: None
    watch_every: int = 0

    def run(self) -> Mapping[str, float]:
        """Returns the seconds each phase took, over all sessions of the run."""
        found = self.checkpoints.latest()
        seconds: dict[str, float] = {}
        total = 0
        phases = self.method.phases()
        names = [phase.name for phase in phases]
        first = 0
        if found is not None:
            path, position = found
            restore(path, self.method.modules)
            seconds, total, first = dict(position.seconds), position.total_images, names.index(position.phase)
        for index in range(first, len(phases)):
            phase = phases[index]
            optimisers = {name: Optimiser(role) for name, role in phase.roles.items()}
            if found is not None and index == first:
                restore_optimisers(path, position, optimisers)
            else:
                phase.begin()
                position = Position(phase.name, seconds=seconds, total_images=total)
            position = self._train(phase, position, optimisers)
            seconds, total = dict(position.seconds), position.total_images
        return seconds

    def _train(self, phase: Phase, position: Position, optimisers: Mapping[str, Optimiser]) -> Position:
        spent, began = position.seconds.get(phase.name, 0.0), time.perf_counter()
        base, saved = position.total_images - position.images, position.images
        record_every = max(1, phase.images // _RECORDS_PER_PHASE)
        images, update, running = position.images, position.update, _Means()
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
            draw = Draw(self.seed, f"train/{phase.name}", images, phase.batch, self.device)
            running.add(role, self._update(phase, role, draw, optimisers[role], images))
            before, images, update = images, images + phase.batch, update + 1
            finished = images >= phase.images
            if finished or images // record_every > before // record_every:
                self.journal.record(phase.name, base + images, running.take())
            self.progress.advance(min(images, phase.images), phase.images, phase.name)
            if self.watch_every and (base + images) // self.watch_every > (base + before) // self.watch_every:
                paused = time.perf_counter()
                self.watch(base + images, before_this + spent + paused - began)
                began += time.perf_counter() - paused
            if finished or images - saved >= self.every:
                self.checkpoints.save(here(), self.method.modules, optimisers)
                saved = images
                self.on_checkpoint(base + images)
        return here()

    def _update(
        self, phase: Phase, role: str, draw: Draw, optimiser: Optimiser, images: int
    ) -> dict[str, Tensor]:
        with training_only(phase.roles[role].module, self.method.modules):
            losses = phase.losses(role, draw)
            total = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(total):
                bad = ", ".join(name for name, value in losses.items() if not torch.isfinite(value))
                raise TrainingError(
                    f"the loss {bad} of role {role} is not finite in phase {phase.name} at image {images}; "
                    "no weight moved: lower the learning rate, or look at the teacher"
                )
            total.backward()  # type: ignore[no-untyped-call]
            norm = optimiser.step(images, phase.images)
        return {**{name: value.detach() for name, value in losses.items()}, "gradient_norm": norm}


class _Means:
    """Running means of what was logged since the last record, by role and name."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, role: str, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._values.setdefault(f"{role}/{name}", []).append(value)

    def take(self) -> dict[str, float]:
        means = {name: float(torch.stack(values).mean()) for name, values in self._values.items()}
        self._values.clear()
        return means
