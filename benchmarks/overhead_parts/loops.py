"""The two loops, block by block: one without an engine, and the engine's own in a thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ardistill.cli.terminal import progress as reporting
from ardistill.config import CheckpointConfig
from ardistill.noise import Draw
from ardistill.protocols import DistillMethod, Progress
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer
from ardistill.training.step import Engine


class Bare:
    """The loop without an engine."""

    def __init__(self, method: DistillMethod, device: torch.device) -> None:
        self._method, self._device, self._update, self._open = method, device, 0, ""
        (self._phase,) = method.phases()
        self._adams = {
            name: torch.optim.AdamW(
                role.module.parameters(),
                lr=role.lr,
                betas=role.betas,
                weight_decay=role.weight_decay,
                fused=True,
            )
            for name, role in self._phase.roles.items()
        }

    def block(self, steps: int) -> None:
        self._open = ""  # the engine has closed all modules since
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        phase, update = self._phase, self._update
        name = phase.role(update)
        role, adam = phase.roles[name], self._adams[name]
        if name != self._open:
            for module in self._method.modules.values():
                module.requires_grad_(False)
            role.module.requires_grad_(True)
            self._open = name
        draw = Draw(0, "benchmarks/overhead", update * phase.batch, phase.batch, self._device)
        losses = phase.losses(name, draw)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(role.module.parameters(), role.clip)
        adam.step()
        adam.zero_grad(set_to_none=True)
        if role.average is not None:
            with torch.no_grad():
                ours: list[Tensor] = list(role.average.parameters())
                theirs: list[Tensor] = list(role.module.parameters())
                torch._foreach_lerp_(ours, theirs, 1 - role.ema_cap)
        self._update += 1


class _LeftError(Exception):
    """No more blocks are wanted."""


class Rider:
    """A trainer in a thread of its own, which runs while a block is asked for; its `Progress`, which counts steps."""

    def __init__(self, steps: int, reporter: Progress) -> None:
        self._steps, self._left, self._reporter = steps, steps, reporter
        self._go, self._done, self._leaving = threading.Semaphore(0), threading.Semaphore(0), False
        self._error: BaseException | None = None

    def advance(self, done: int, total: int, what: str) -> None:
        self._reporter.advance(done, total, what)
        self._left -= 1
        if not self._left:
            self._left = self._steps
            self._done.release()
            self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if self._leaving:
            raise _LeftError

    @contextmanager
    def riding(self, run: Callable[[], object]) -> Iterator[None]:
        def ride() -> None:
            try:
                self._wait()
                run()
                self._error = RuntimeError("the run is over, and a block was asked for")
            except _LeftError:
                pass
            except BaseException as error:  # whatever it is, `block` raises it
                self._error = error
            self._done.release()

        thread = threading.Thread(target=ride, name="rider")
        thread.start()
        try:
            yield
        finally:
            self._leaving = True
            self._go.release()
            thread.join()

    def block(self) -> None:
        self._go.release()
        self._done.acquire()
        if self._error is not None:
            raise self._error


@contextmanager
def engine(
    method: DistillMethod, steps: int, every: int, folder: Path, device: torch.device, *, prefetch: bool
) -> Iterator[Callable[[], None]]:
    """A block of the engine's, with what it still writes. Its files go into `folder`, a save every so many images."""
    folder.mkdir()
    words = CheckpointConfig()
    checkpoints = Checkpoints(folder / "checkpoints", words.keep, "", words.permanent, words.asynchronous)
    with ExitStack() as stack:
        journal = Journal(folder)
        stack.callback(journal.close)
        told = stack.enter_context((folder / "progress").open("w"))  # lines, as where nobody watches
        rider = Rider(steps, stack.enter_context(reporting(told)))
        options = Engine(prefetch=prefetch)
        trainer = Trainer(method, 0, device, checkpoints, every, journal, rider, engine=options)
        stack.enter_context(rider.riding(trainer.run))

        def block() -> None:
            rider.block()
            checkpoints.wait()

        yield block
