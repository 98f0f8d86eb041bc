"""Telling shards from whole weights, without the import of `torch.distributed.tensor`, which takes a second.

A sharded weight, its gradient and Adam's state of it are DTensors: each process holds some of the rows.
"""

import sys
from collections.abc import Iterable

from torch import Tensor


def is_shard(tensor: Tensor) -> bool:
    """Whether other processes hold the rest of it."""
    loaded = sys.modules.get("torch.distributed.tensor")  # before that there can be none
    return loaded is not None and isinstance(tensor, loaded.DTensor)


def local(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this process holds of each, in the same memory; plain tensors are held whole."""
    return [tensor.to_local() if is_shard(tensor) else tensor for tensor in tensors]  # type: ignore[attr-defined]
