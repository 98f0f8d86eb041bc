"""One update of one role, by one process or several, whole or not at all.

Why not DistributedDataParallel: it hooks into the forward pass of a whole module, and methods call parts of theirs
(a trunk, a head), train one role at a time, and use a role's module where it is not trained. Here every process adds
up the gradients of its micro-batches, and one explicit sum over the processes follows the last of them; those of
sharded blocks are summed by FSDP2 on the way back (`sharding`).

Losses are means over images, so that a process's share counts by its images, and what they are divided by else is the
whole update's (`Draw.update`): one process, several, and micro-batches give the same gradient up to rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from itertools import zip_longest

import attrs
import torch
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.noise import Draw
from ardistill.protocols import Phase
from ardistill.training.faults import LossError, OtherProcessError, TrainingError, WorldError
from ardistill.training.optimise import Optimiser, training_only
from ardistill.training.precision import Precision, computing
from ardistill.training.prefetch import Prefetch
from ardistill.training.sharding import Parallel, check_torch
from ardistill.training.shards import is_shard
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
    prefetch: bool = True
    parallel: Parallel = "ddp"

    @property
    def sharded(self) -> bool:
        """Whether each of several processes holds a part of the weights; one alone holds them all."""
        return self.parallel == "fsdp" and self.world.size > 1

    def check(self, phases: Sequence[Phase]) -> None:
        """Raises ConfigError where a phase's batch can't be shared out, or torch is too old to shard weights."""
        if self.parallel == "fsdp":
            check_torch()
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
    prefetch: Prefetch = attrs.field(factory=Prefetch)

    def __call__(
        self, phase: Phase, role: str, optimiser: Optimiser, images: int, signals: Signals, then: str = ""
    ) -> tuple[dict[str, Tensor], int]:
        """One update from the phase's image `images` on: what to log, and the signal that any process has met.

        `then` is the role of the next update, where it is known. Raises, in every process and before a weight moves,
        where one of them can't go on.
        """
        world, where = self.engine.world, f"of role {role} in phase {phase.name} at image {images}"
        with training_only(phase.roles[role].module, self.modules):
            try:
                with world.meeting() if self.engine.sharded else nullcontext():
                    losses = self._gradients(phase, role, optimiser, images, then)
            except WorldError:
                optimiser.forget()
                raise
            except BaseException as error:
                optimiser.forget()
                world.fail()
                # Where weights are sharded, the others may stand in the middle of a block, and can't be met: they
                # learn of it as soon as this process is gone. Whoever presses Ctrl-C twice does not want to wait.
                if isinstance(error, Exception) and not self.engine.sharded:
                    with suppress(WorldError):
                        self._agreed(optimiser, signals, failed=True)
                if isinstance(error, torch.OutOfMemoryError):
                    raise TrainingError(self._too_large(phase, where)) from error
                if self.engine.sharded and isinstance(error, RuntimeError) and "DTensor" in str(error):
                    raise TrainingError(
                        f"the losses {where} use the weights of a block without calling the block, and sharded ones "
                        "are only there while it is called; give train.parallel=ddp"
                    ) from error
                raise
            signal = self._agreed(optimiser, signals)
            grads = [each.grad for each in optimiser.parameters if each.grad is not None]
            whole = [each for each in grads if not is_shard(each)]  # shards hold the sum already
            own, updates = torch.stack(list(losses.values())), optimiser.updates
            world.add_up([*whole, *losses.values()])
            try:
                norm = optimiser.step(images, phase.images, losses)
            except LossError as error:
                optimiser.forget()
                raise TrainingError(
                    f"the loss {self._not_finite(own, losses)} of role {role} is not finite in phase {phase.name} at "
                    f"image {images}; no weight moved: lower the learning rate, or look at the teacher"
                ) from error
            except TrainingError as error:
                optimiser.forget()
                raise TrainingError(f"{error} {where}; no weight moved: lower the learning rate") from error
            except torch.OutOfMemoryError as error:
                raise TrainingError(self._too_large(phase, where)) from error
        if optimiser.updates == updates:  # a float16 gradient overflowed, and the update was left out
            return losses, signal
        return {**losses, "gradient_norm": norm}, signal

    def _gradients(
        self, phase: Phase, role: str, optimiser: Optimiser, images: int, then: str
    ) -> dict[str, Tensor]:
        """Adds up the gradients of this process's images; returns its part of the batch's losses, as 0-d tensors."""
        sums: dict[str, Tensor] = {}
        for draw in self._draws(phase, role, images, then):
            with computing(self.engine.precision, self.device):
                losses = phase.losses(role, draw)
            total = torch.stack(list(losses.values())).sum()
            share = len(draw) / phase.batch
            scale = optimiser.scale.factor if optimiser.scale is not None else 1.0
            (total * (scale * share)).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                part = value.detach().float() * share
                sums[name] = sums[name] + part if name in sums else part
        return sums

    def _draws(self, phase: Phase, role: str, images: int, then: str) -> Iterator[Draw]:
        """Of the process's micro-batches; while one is used, the numbers of the next are made."""

        def of(role: str, images: int) -> list[tuple[str, Draw]]:
            stream, whole = f"train/{phase.name}", (images, phase.batch)
            shares = self.engine.shares(phase, images)
            return [(role, Draw(self.seed, stream, *share, self.device, whole)) for share in shares]

        turns = of(role, images)
        later = of(then, images + phase.batch)[:1] if then else []
        for (_, draw), following in zip_longest(turns, [*turns[1:], *later]):
            yield self.prefetch.ready(role, draw, following)

    def _not_finite(self, own: Tensor, losses: Mapping[str, Tensor]) -> str:
        """The loss terms that are not, by this process's `own` values of them.

        Raises OtherProcessError where they are another's alone.
        """
        bad = [name for name, finite in zip(losses, own.isfinite().tolist(), strict=True) if not finite]
        if not any(self.engine.world.agree([len(bad)])):  # together they are too large
            bad = [name for name, value in losses.items() if not torch.isfinite(value)]
        if not bad:
            raise OtherProcessError("another process failed, and says itself why")
        return ", ".join(bad)

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
