"""The student of a training whose weights are sharded, put together where it is looked at."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from ardistill.training.sharding import sharded_blocks
from ardistill.training.shards import is_shard
from ardistill.training.world import World


class Whole:
    """Made before the networks are sharded, by every process.

    `student` is like the one in training, and shares with it all that is not sharded; its other weights are there
    between `gather` and `let_go`, in the first process alone. All processes call both. No other state is gathered.
    """

    def __init__(self, student: nn.Module, networks: Mapping[str, nn.Module], world: World) -> None:
        self._trained, self._world = student, world
        shared: dict[int, Tensor] = {
            id(each): each for each in chain(student.parameters(), student.buffers())
        }
        self._absent: dict[str, nn.Parameter] = {}
        blocks = sharded_blocks(networks).values()
        sharded = {id(weight) for block in blocks for weight in block.parameters() if weight.ndim}
        for name, weight in student.named_parameters():
            if id(weight) in sharded:
                shared[id(weight)] = self._absent[name] = nn.Parameter(
                    weight.new_empty(0), requires_grad=False
                )
        self.student: nn.Module = copy.deepcopy(student, dict(shared))

    @torch.no_grad()
    def gather(self) -> None:
        """One weight after the other, so that the other processes hold no more than one of them whole."""
        weights = dict(self._trained.named_parameters())
        for name, absent in self._absent.items():
            weight = weights[name]
            assert is_shard(weight), f"{name} is not sharded yet"
            with self._world.meeting():
                whole: Tensor = weight.full_tensor()  # type: ignore[attr-defined]
            if self._world.first:
                absent.data = whole

    def let_go(self) -> None:
        for absent in self._absent.values():
            absent.data = absent.new_empty(0)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """With the weights inside."""
        self.gather()
        try:
            yield
        finally:
            self.let_go()
