"""Tensors in pieces: how the processes share out the writing of sharded states, and how any of them reads them again.

What each writes and reads follows the plans of torch.distributed.checkpoint, so that states go from any number of
processes, sharded or not, to any other. Its storage is not used: that pickles. Here a file is safetensors, and says of
each piece in JSON where it begins and how large the whole is; a tensor that it says nothing of is whole.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import attrs
import torch
from safetensors import safe_open
from torch import Tensor

from ardistill.errors import RunFolderError
from ardistill.training.shards import is_shard
from ardistill.weights import write_weights

_PIECES = "pieces"
_Place = tuple[int, ...]


def write_pieces(path: Path, tensors: Mapping[str, Tensor], rank: int, size: int) -> None:
    """Writes this process's part: its shards, and its share of what all `size` processes hold alike. Raises OSError."""
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.planner import WriteItemType

    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner(dict(tensors), is_coordinator=rank == 0)
    mine: dict[str, Tensor] = {}
    places: dict[str, dict[str, list[int]]] = {}
    for number, item in enumerate(planner.create_local_plan().items):
        key, data = item.index.fqn, item.tensor_data
        assert data is not None, f"{key} is no tensor"
        sharded = item.type is WriteItemType.SHARD
        # A tensor of few rows leaves some processes nothing.
        if rank == 0 or data.chunk.sizes.numel() if sharded else number % size == rank:
            mine[key] = cast(Tensor, planner.resolve_data(item))
        if sharded and key in mine:
            places[key] = {"offset": list(data.chunk.offsets), "size": list(data.size)}
    write_weights(path, mine, {_PIECES: places})


@attrs.frozen(eq=False)
class Pieces:
    """The tensors of some files, whole or in pieces; each lies in its file until it is used.

    `sizes` are those of the whole tensors.
    """

    sizes: Mapping[str, torch.Size]
    _pieces: Mapping[str, Mapping[_Place, Tensor]]
    """By key and by where they begin."""

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "Pieces":
        """Raises RunFolderError where the pieces of a tensor are not all there."""
        sizes: dict[str, torch.Size] = {}
        pieces: dict[str, dict[_Place, Tensor]] = {}
        for path in paths:
            with safe_open(path, framework="pt") as file:
                places = json.loads((file.metadata() or {}).get("ardistill", "{}")).get(_PIECES, {})
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
            for key, tensor in tensors.items():
                place = places.get(key, {"offset": [0] * tensor.ndim, "size": list(tensor.shape)})
                offset, size = tuple(map(int, place["offset"])), torch.Size(place["size"])
                there = pieces.setdefault(key, {})
                if (
                    sizes.setdefault(key, size) != size
                    or offset in there
                    or not _within(offset, tensor, size)
                ):
                    raise RunFolderError(
                        f"{path} does not fit the files beside it in {key}; resume another run"
                    )
                there[offset] = tensor
        for key, size in sizes.items():
            if sum(tensor.numel() for tensor in pieces[key].values()) != size.numel():
                raise RunFolderError(f"of {key} some pieces are missing; resume another run")
        return cls(sizes, pieces)

    def of_those(self, names: Iterable[str]) -> "Pieces":
        """Of keys that begin with one of the names and a dot."""
        wanted = tuple(f"{name}." for name in names)
        return Pieces(
            {key: size for key, size in self.sizes.items() if key.startswith(wanted)},
            {key: pieces for key, pieces in self._pieces.items() if key.startswith(wanted)},
        )

    def like(self, key: str) -> Tensor:
        """An empty tensor of the key's size and dtype."""
        return torch.empty(self.sizes[key], dtype=next(iter(self._pieces[key].values())).dtype)

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies into `tensors`, of which a process may hold shards: all of them, and all that is here.

        Raises RunFolderError where keys or sizes are not the same; then nothing is copied.
        """
        wanted = {key: tensor.shape for key, tensor in tensors.items()}
        if wanted != self.sizes:
            odd = min(key for key in {*wanted, *self.sizes} if wanted.get(key) != self.sizes.get(key))
            raise RunFolderError(
                f"the checkpoint has {_told(self.sizes.get(odd))} under {odd}, and this method "
                f"{_told(wanted.get(odd))}; resume with the code and weights it was made with"
            )
        self._fill_shards({key: tensor for key, tensor in tensors.items() if is_shard(tensor)})
        for key, tensor in tensors.items():
            if not is_shard(tensor):
                for place, piece in self._pieces[key].items():
                    _narrowed(tensor, place, piece.shape).copy_(piece)

    def _fill_shards(self, tensors: Mapping[str, Tensor]) -> None:
        if not tensors:
            return  # and torch spares a second of importing
        from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
        from torch.distributed.checkpoint.metadata import (
            ChunkStorageMetadata,
            Metadata,
            TensorProperties,
            TensorStorageMetadata,
        )

        told = {
            key: TensorStorageMetadata(
                TensorProperties(tensor.dtype),
                self.sizes[key],
                [
                    ChunkStorageMetadata(torch.Size(place), piece.shape)
                    for place, piece in self._pieces[key].items()
                ],
            )
            for key, tensor in tensors.items()
        }
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        planner.set_up_planner(dict(tensors), Metadata(dict(told)))
        for item in planner.create_local_plan().items:
            piece = self._pieces[item.storage_index.fqn][tuple(item.storage_index.offset or ())]
            planner.resolve_tensor(item).copy_(_narrowed(piece, item.storage_offsets, item.lengths))


def _narrowed(tensor: Tensor, offset: Iterable[int], size: Iterable[int]) -> Tensor:
    for dim, (begin, length) in enumerate(zip(offset, size, strict=True)):
        tensor = tensor.narrow(dim, begin, length)
    return tensor


def _within(offset: _Place, tensor: Tensor, size: torch.Size) -> bool:
    if not len(offset) == tensor.ndim == len(size):
        return False
    return all(
        0 <= begin <= begin + length <= end
        for begin, length, end in zip(offset, tensor.shape, size, strict=True)
    )


def _told(size: torch.Size | None) -> str:
    return "nothing" if size is None else f"a tensor of size {list(size)}"
