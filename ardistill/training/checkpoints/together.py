"""Writing a checkpoint of sharded states: every process its own shards, the first the rest.

The order is that of `writing`: all shards, fsynced; then, once every process has told the size and sha256 of its own,
the manifest and the name.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import cattrs
from torch import Tensor

from ardistill.files import write_atomic
from ardistill.training.checkpoints import writing
from ardistill.training.checkpoints.manifest import STATE, File, Manifest, State, shard_of
from ardistill.training.checkpoints.pieces import write_pieces
from ardistill.training.faults import OtherProcessError
from ardistill.training.world import World


def write(folder: Path, state: State, tensors: Mapping[str, Mapping[str, Tensor]], world: World) -> None:
    """All processes call it; when it returns in any of them, every shard is on the disk.

    Raises OSError in a process that can't write, and OtherProcessError in the others; nothing gets the name of a
    checkpoint then.
    """
    world.by_first(lambda: writing.begin(folder, state))
    aside = writing.aside_of(folder, state)
    own: dict[str, File] = {}
    refused: OSError | None = None
    try:
        for file, values in tensors.items():
            name = shard_of(file, world.rank, world.size)
            write_pieces(aside / name, values, world.rank, world.size)
            own[name] = File.of(aside / name)
    except OSError as error:
        refused = error
    try:
        if any(world.agree([int(refused is not None)])):
            raise refused or OtherProcessError("another process can't write its shards, and says itself why")
        told = world.gathered(json.dumps(cattrs.unstructure(own)))
        world.by_first(lambda: _finish(aside, state, told))
    except BaseException:
        if world.first:
            shutil.rmtree(aside, ignore_errors=True)
        raise


def _finish(aside: Path, state: State, told: list[str]) -> None:
    write_atomic(aside / STATE, state.text())
    files = {
        name: file
        for text in told
        for name, file in cattrs.structure(json.loads(text), dict[str, File]).items()
    }
    files[STATE] = File.of(aside / STATE)
    writing.commit(aside, state, Manifest(files))
