"""Writing a checkpoint so that a kill at any moment leaves it whole or absent, and clearing away the old ones.

The order: every file, fsynced; the manifest, fsynced; the folder that holds them, fsynced; its new name; the folder
above, fsynced. Only then is anything deleted, and what is deleted first loses its name.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ardistill.files import fsync_folder, write_atomic
from ardistill.training.checkpoints import names
from ardistill.training.checkpoints.manifest import MANIFEST, STATE, Manifest, State, of_right_size
from ardistill.weights import write_weights

_log = logging.getLogger("ardistill")


def write(folder: Path, state: State, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Writes one checkpoint into `folder`; `tensors` by file. Raises OSError, and then leaves nothing behind."""
    aside = begin(folder, state)
    try:
        for file, values in tensors.items():
            write_weights(aside / file, values, {})
        write_atomic(aside / STATE, state.text())
        commit(aside, state, Manifest.of(aside))
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def begin(folder: Path, state: State) -> Path:
    """Makes the place in `folder` where a checkpoint is written, and clears away what was left of others."""
    _make(folder)
    _clear(folder)
    aside = aside_of(folder, state)
    aside.mkdir()
    return aside


def aside_of(folder: Path, state: State) -> Path:
    """The place where a checkpoint is written."""
    return _hidden(folder, state.position.name)


def commit(aside: Path, state: State, manifest: Manifest) -> None:
    """What was written becomes a checkpoint."""
    write_atomic(aside / MANIFEST, manifest.text())  # which fsyncs the folder, too
    aside.rename(names.free(aside.parent, state.position.name))
    fsync_folder(aside.parent)


def prune(folder: Path, keep: int, permanent: int) -> None:
    """Deletes all but those that stay; one that is not whole does not count, and is put aside instead."""
    found = []
    for path in names.newest_first(folder):
        if of_right_size(path) is None:
            put_aside(path)
        else:
            found.append(path)
    stays = names.lasting(found, keep, permanent)
    for path in found:
        if path not in stays:
            try:
                shutil.rmtree(path.rename(_hidden(folder, path.name)))
            except OSError as error:
                _log.warning(
                    "%s is an old checkpoint and can't be removed (%s)", path, error.strerror or error
                )


def put_aside(path: Path) -> None:
    """Moves a damaged checkpoint into damaged/, and names it on the log."""
    try:
        aside = path.parent / names.DAMAGED
        _make(aside)
        target = path.rename(names.free(aside, path.name.partition("@")[0]))
        fsync_folder(aside)
        fsync_folder(path.parent)
    except OSError:  # a folder that can't be written to is resumed from nonetheless
        _log.warning("%s is a damaged checkpoint and is not used", path)
    else:
        _log.warning("%s is a damaged checkpoint and is not used; it is kept as %s", path, target)


def _hidden(folder: Path, name: str) -> Path:
    """Where a checkpoint lies before it is one and after it was one."""
    return folder / f".{name}.tmp"


def _clear(folder: Path) -> None:
    """Removes what a kill has left of writing or of deleting."""
    for path in folder.iterdir():
        if path.name.endswith(".tmp") and names.Name.of(path.name[1 : -len(".tmp")]):
            shutil.rmtree(path)


def _make(folder: Path) -> None:
    """The folder and those above it, each durable in the one above."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)
