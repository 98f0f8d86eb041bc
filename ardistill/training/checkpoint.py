"""Checkpoints that survive a kill at any moment: written aside, fsynced, manifest last, then renamed.

A checkpoint is a folder of safetensors and JSON: modules.safetensors (every module of the method), optimisers
.safetensors (those of the current phase), state.json (where training stands), manifest.json (the size and sha256 of the
others). Of sharded states each process writes its own, modules-00001-of-00008.safetensors and so on. One that is not
what its manifest says is put into damaged/, and never deleted.
"""

import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType

import attrs
from attrs.validators import ge
from torch import nn

from ardistill.errors import RunFolderError
from ardistill.training.checkpoints import names, together, writing
from ardistill.training.checkpoints.background import Background
from ardistill.training.checkpoints.copying import Copies, Tensors, affordable
from ardistill.training.checkpoints.manifest import MODULES, OPTIMISERS, Position, State, whole
from ardistill.training.checkpoints.states import (
    flatten,
    flatten_optimisers,
    restore,
    restore_optimisers,
    unflatten,
)
from ardistill.training.optimise import Optimiser
from ardistill.training.world import World
from ardistill.wording import listed

__all__ = ["Checkpoints", "Position", "flatten", "restore", "restore_optimisers", "unflatten"]

_log = logging.getLogger("ardistill")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@attrs.define(eq=False)
class Checkpoints:
    """The checkpoints of a run folder. The newest `keep` stay, and the first at or after each `permanent` images.

    `fingerprint` stands for the configuration that made them; another one's are refused. With `asynchronous`, `save`
    copies the states and a thread writes them, unless the copy would take too much memory (`copying.affordable`). Then
    `close`, or the end of a `with` block, waits for what is under way.
    """

    folder: Path
    keep: int = attrs.field(default=2, validator=ge(1))
    fingerprint: str = ""
    permanent: int = attrs.field(default=0, validator=ge(0))
    asynchronous: bool = False
    _background: Background = attrs.field(factory=Background, init=False, repr=False)
    _copies: Copies = attrs.field(factory=Copies, init=False, repr=False)

    def save(
        self, position: Position, modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimiser]
    ) -> None:
        """Saves what is there now. Raises RunFolderError where this save or the one before it can't be written."""
        self.wait()
        tensors: Tensors = {MODULES: flatten(modules), OPTIMISERS: flatten_optimisers(optimisers)}
        state = State(position, self.fingerprint)
        if self.asynchronous and affordable(tensors):
            self._background.start(partial(self._write, state, self._copies.of(tensors)))
        else:
            self._write(state, tensors)

    def save_together(
        self,
        position: Position,
        modules: Mapping[str, nn.Module],
        optimisers: Mapping[str, Optimiser],
        world: World,
    ) -> None:
        """Saves sharded states; every process calls it, and goes on when all is committed.

        Raises RunFolderError in a process that can't write, and OtherProcessError in the others.
        """
        if self.asynchronous and world.first:
            self.asynchronous = False  # it is told once
            _log.warning(
                "sharded weights are saved at once: checkpoint.asynchronous=true is for train.parallel=ddp"
            )
        tensors: Tensors = {MODULES: flatten(modules), OPTIMISERS: flatten_optimisers(optimisers)}
        with self._told():
            together.write(self.folder, State(position, self.fingerprint), tensors, world)
            world.by_first(lambda: writing.prune(self.folder, self.keep, self.permanent))

    def wait(self) -> None:
        """Returns when no save is under way. Raises RunFolderError, once, where it could not be written."""
        self._background.wait()

    close = wait

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits. What ends the block is not hidden by a save that failed: that is told on the log."""
        try:
            self.wait()
        except RunFolderError as failed:
            if error is None:
                raise
            _log.warning("%s", failed)

    def _write(self, state: State, tensors: Tensors) -> None:
        with self._told():
            writing.write(self.folder, state, tensors)
            writing.prune(self.folder, self.keep, self.permanent)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the system refuses is one sentence."""
        try:
            yield
        except OSError as error:
            mend = "make room" if error.errno in _FULL else "let it be written to"
            raise RunFolderError(
                f"a checkpoint can't be written to {self.folder} ({error.strerror or error}); the ones before it are "
                f"whole: {mend}, then run resume=DIR"
            ) from error

    def _newest_first(self) -> list[Path]:
        return names.newest_first(self.folder)

    def latest(self) -> tuple[Path, Position] | None:
        """The newest checkpoint whose files are what its manifest says, or None where there has never been one.

        Waits for a save that is under way. Damaged ones are put into damaged/ and named on the log.
        """
        self.wait()
        for path in self._newest_first():
            try:
                state = whole(path)
            except PermissionError as error:
                raise RunFolderError(
                    f"{error.filename} can't be read ({error.strerror}); let it be read, then run resume=DIR"
                ) from error
            if state is None:
                writing.put_aside(path)
            elif state.fingerprint != self.fingerprint:
                raise RunFolderError(
                    f"{path} was made under another configuration; put config.toml back as it was, or start anew with "
                    "run --config"
                )
            else:
                return path, state.position
        damaged = names.newest_first(self.folder / names.DAMAGED) or self._newest_first()
        if damaged:
            raise RunFolderError(
                f"every checkpoint in {self.folder} is damaged ({listed(path.name for path in damaged)}); start a new "
                "run with out=DIR"
            )
        return None
