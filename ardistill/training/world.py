"""The processes that train together, as each of them sees it; one alone is a world, too.

Short agreements inside a step are all-reduces, whose time is bounded. Where the first process works alone (preparing,
saving, judging), which may take hours, the others look into the group's store now and then, and never time out.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import TypeVar

import attrs
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store

from ardistill.training.faults import OtherProcessError, WorldError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""For an all-reduce, and for all processes to appear; a process that is gone is noticed at once where it can be."""
_BUCKET = 25_000_000
"""Numbers that are summed at once, 100 MB of float32."""
_FAILED = "failed"
_GLOO = "third_party/gloo"
"""In what gloo says of a connection that is gone: a plain RuntimeError with the place in its source."""


@attrs.frozen(eq=False)
class World:
    """A process among `size`, the `local_rank`-th of `local_size` on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: str = "auto"
    """The configuration's word for the device that is this process's own."""
    _store: Store | None = None
    _turns: "count[int]" = attrs.field(factory=count)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def agree(self, numbers: Sequence[int]) -> list[int]:
        """The largest that any process gave, number by number."""
        if self.size == 1:
            return list(numbers)
        largest = torch.tensor(numbers, dtype=torch.int64)
        self._reduce(largest, dist.ReduceOp.MAX)
        return largest.tolist()

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Every tensor becomes the sum over the processes, in place; all of one device."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self._reduce(flat, dist.ReduceOp.SUM)
            for tensor, part in zip(
                bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True
            ):
                tensor.copy_(part.view_as(tensor))

    def _reduce(self, tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
        with self.meeting(sure=True):
            dist.all_reduce(tensor, operation)

    @contextmanager
    def meeting(self, *, sure: bool = False) -> Iterator[None]:
        """Around work in which torch meets the other processes, forward and back through sharded weights.

        Raises OtherProcessError where another process said that it failed, and WorldError where one is gone. Unless it
        is `sure` that every RuntimeError comes of that, those that do not say so stay what they are.
        """
        try:
            yield
        except RuntimeError as error:  # which c10d's own errors are
            with suppress(dist.DistError):  # the store may be gone as well
                self.check()
            if not (sure or isinstance(error, dist.DistError) or _GLOO in str(error)):
                raise
            raise WorldError(
                "another process is gone, or has not answered for "
                f"{TIMEOUT.total_seconds() / 60:.0f} minutes; go on with: run resume=DIR"
            ) from error

    def by_first(self, work: Callable[[], T]) -> T | None:
        """The first process does `work` and has its result; the others wait for it, as long as it takes."""
        turn = f"turn/{next(self._turns)}"
        if self.first:
            result = work()
            if self._store is not None:
                self._store.set(turn, "done")
            return result
        self._wait(turn)
        return None

    def in_turn(self, work: Callable[[], T]) -> T:
        """The first process does `work`, and then every other one."""
        done: list[T] = []
        self.by_first(lambda: done.append(work()))
        return done[0] if done else work()

    def told(self, text: str) -> str:
        """The first process's text."""
        if self._store is None:
            return text
        turn = f"text/{next(self._turns)}"
        if self.first:
            self._store.set(turn, text)
            return text
        self._wait(turn)
        return str(self._store.get(turn), "utf-8")

    def gathered(self, text: str) -> list[str]:
        """Every process's text, in the first process; none in the others. All are waited for in an agreement."""
        if self._store is None:
            return [text]
        turn = f"gathered/{next(self._turns)}"
        self._store.set(f"{turn}/{self.rank}", text)
        self.agree([0])
        if not self.first:
            return []
        return [str(self._store.get(f"{turn}/{rank}"), "utf-8") for rank in range(self.size)]

    def fail(self) -> None:
        """Tells those who wait that this process will not come."""
        if self._store is not None:
            with suppress(dist.DistError):
                self._store.set(_FAILED, str(self.rank))

    def check(self) -> None:
        """Raises OtherProcessError where another process has failed."""
        if self._store is not None and self._store.check([_FAILED]):
            rank = self._store.get(_FAILED).decode()
            raise OtherProcessError(f"process {rank} of {self.size} failed, and says itself why")

    def all_here(self, seconds: float) -> None:
        """Waits until every process has called this, or is gone, or for so long."""
        if self._store is None:
            return
        turn, deadline = f"here/{next(self._turns)}", time.monotonic() + seconds
        with suppress(dist.DistError):
            arrived = self._store.add(turn, 1)
            while arrived < self.size and time.monotonic() < deadline:
                time.sleep(0.02)
                arrived = self._store.add(turn, 0)

    def _wait(self, key: str) -> None:
        assert self._store is not None
        pause = 0.005
        try:
            while not self._store.check([key]):
                self.check()
                time.sleep(pause)
                pause = min(0.5, 1.5 * pause)
        except dist.DistError as error:
            raise WorldError("the first process is gone; go on with: run resume=DIR") from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(each.numel() for each in bucket) + tensor.numel() > _BUCKET
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
