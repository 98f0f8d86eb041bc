"""One update of one role, by one process or several, whole or not at all.

Why not DistributedDataParallel: it hooks into the forward pass of a whole module, and methods call parts of theirs
(a trunk, a head), train one role at a time, and use a role's module where it is not trained. Here every process adds
up the gradients of its micro-batches, and one explicit sum over the processes follows the last of them.

Losses are means over images, so that a process's share counts by its images, and what they are divided by else is the
whole update's (`Draw.update`): one process, several, and micro-batches give the same gradient up to rounding.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import attrs
import torch
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.noise import Draw
from ardistill.protocols import Phase
from ardistill.training.faults import OtherProcessError, TrainingError, WorldError
from ardistill.training.optimise import Optimiser, training_only
from ardistill.training.precision import Precision, computing
from ardistill.training.signals import Signals
from ardistill.training.world import World


@attrs.frozen(eq=False)
class Engine:
    """How updates are computed; none of it changes what is learned, up to rounding."""

    world: World = attrs.field(factory=World)
    precision: Precision = "fp32"
    micro_batch: int = 0
    """Images at once; 0 is a process's whole share of the batch."""
    compile: bool = False
    checkpointing: bool = False

    def check(self, phases: Sequence[Phase]) -> None:
        """Raises ConfigError where a phase's batch can't be shared out."""
        for phase in phases:
            if phase.batch % self.world.size:
                raise ConfigError(
                    f"the batch of phase {phase.name} is {phase.batch} images, and {self.world.size} processes can't "
                    "take equal shares of it; give a batch that they divide, or another number of processes"
                )

    def shares(self, phase: Phase, start: int) -> list[tuple[int, int]]:
        """The process's micro-batches of the update whose first image is `start`: (first image, how many)."""
        share = phase.batch // self.world.size
        first, size = start + self.world.rank * share, self.micro_batch or share
        return [(first + done, min(size, share - done)) for done in range(0, share, size)]


@attrs.frozen(eq=False)
class Step:
    """What updates need to know of the run."""

    engine: Engine
    modules: Mapping[str, nn.Module]
    seed: int
    device: torch.device

    def __call__(
        self, phase: Phase, role: str, optimiser: Optimiser, images: int, signals: Signals
    ) -> tuple[dict[str, Tensor], int]:
        """One update from the phase's image `images` on: what to log, and the signal that any process has met.

        Raises, in every process and before a weight moves, where one of them can't go on.
        """
        world, where = self.engine.world, f"of role {role} in phase {phase.name} at image {images}"
        with training_only(phase.roles[role].module, self.modules):
            try:
                losses = self._gradients(phase, role, optimiser, images)
            except BaseException as error:
                optimiser.forget()
                world.fail()
                if isinstance(error, Exception):  # whoever presses Ctrl-C twice does not want to wait
                    with suppress(WorldError):
                        self._agreed(optimiser, signals, failed=True)
                if isinstance(error, torch.OutOfMemoryError):
                    raise TrainingError(self._too_large(phase, where)) from error
                raise
            signal = self._agreed(optimiser, signals)
            gradients = [each.grad for each in optimiser.parameters if each.grad is not None]
            world.add_up([*gradients, *losses.values()])
            try:
                norm = optimiser.step(images, phase.images)
            except TrainingError as error:
                optimiser.forget()
                raise TrainingError(f"{error} {where}; no weight moved: lower the learning rate") from error
            except torch.OutOfMemoryError as error:
                raise TrainingError(self._too_large(phase, where)) from error
        if optimiser.scale is not None and not torch.isfinite(norm):  # the update was left out
            return losses, signal
        return {**losses, "gradient_norm": norm}, signal

    def _gradients(self, phase: Phase, role: str, optimiser: Optimiser, images: int) -> dict[str, Tensor]:
        """Adds up the gradients of this process's images; returns its part of the batch's losses, as 0-d tensors."""
        sums: dict[str, Tensor] = {}
        for first, count in self.engine.shares(phase, images):
            draw = Draw(self.seed, f"train/{phase.name}", first, count, self.device, of=(images, phase.batch))
            with computing(self.engine.precision, self.device):
                losses = phase.losses(role, draw)
            total = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(total):
                bad = ", ".join(name for name, value in losses.items() if not torch.isfinite(value))
                raise TrainingError(
                    f"the loss {bad} of role {role} is not finite in phase {phase.name} at image {images}; "
                    "no weight moved: lower the learning rate, or look at the teacher"
                )
            scale = optimiser.scale.factor if optimiser.scale is not None else 1.0
            (total * (scale * count / phase.batch)).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                part = value.detach().float() * (count / phase.batch)
                sums[name] = sums[name] + part if name in sums else part
        return sums

    def _agreed(self, optimiser: Optimiser, signals: Signals, *, failed: bool = False) -> int:
        """Meets the other processes: all come through or none does. A weight that only some have reached is filled.

        Returns the signal that any process has met.
        """
        world = self.engine.world
        if world.size == 1:
            return signals.caught
        reached = [int(parameter.grad is not None) for parameter in optimiser.parameters]
        any_failed, signal, *reached = world.agree([int(failed), signals.caught, *reached])
        if failed:
            return signal
        if any_failed:
            optimiser.forget()
            world.check()
            raise OtherProcessError("another process failed, and says itself why")
        for parameter, wanted in zip(optimiser.parameters, reached, strict=True):
            if wanted and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return signal

    def _too_large(self, phase: Phase, where: str) -> str:
        used = max(count for _, count in self.engine.shares(phase, 0))
        told = (
            f"the device's memory is too small for {used} images at once {where}, and no weight moved; give "
        )
        if used > 1:
            return f"{told}train.micro_batch={used // 2}, which gives the same gradients in less memory"
        return f"{told}train.checkpointing=true or train.precision=bf16, or a larger device"
