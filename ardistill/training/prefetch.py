"""The next micro-batch's numbers, made beside the work on this one.

A method is taken to ask for what it asked in the role's last micro-batch. Numbers are a function of the seed, the
stream and the image (`ardistill.noise`), so that foreseeing costs or saves time, and changes nothing: what was not
foreseen is made on the spot. For a GPU they are made in pinned memory, from which it copies while it computes.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

import attrs
import torch
from torch import Tensor

from ardistill.noise import Draw, Numbers

_Make = Callable[[Numbers], Tensor]
_CPU = torch.device("cpu")


@attrs.frozen(eq=False)
class _Batch:
    """A micro-batch's draw: what it was asked for, in order, and what of it is there or on its way, by occurrence."""

    draw: Draw
    coming: dict[tuple[Numbers, int], Future[Tensor]]
    asked: list[Numbers] = attrs.field(factory=list)

    def __call__(self, numbers: Numbers) -> Tensor:
        future = self.coming.pop((numbers, self.asked.count(numbers)), None)
        self.asked.append(numbers)
        # What the thread has not begun is sooner made here; and whatever it met, this thread may not meet.
        if future is None or future.cancel() or future.exception() is not None:
            return self.draw.source(numbers)
        return future.result().to(self.draw.device, non_blocking=True)

    def likewise(self, then: Draw) -> list[Numbers]:
        """What `then` will be asked for, if it is asked for the same."""
        own, whole = (self.draw.start, self.draw.count), self.draw.of
        found = []
        for numbers in self.asked:
            span = (numbers.start, numbers.count)
            if span == own:
                found.append(attrs.evolve(numbers, start=then.start, count=then.count))
            elif span == whole and then.of is not None:
                found.append(attrs.evolve(numbers, start=then.of[0], count=then.of[1]))
        return found

    def forget(self) -> None:
        """Drops what was foreseen and not asked for."""
        for future in self.coming.values():
            future.cancel()
        self.coming.clear()


class Prefetch:
    """Where `wanted`, a thread inside `with` that makes numbers for `device`; otherwise draws stay as they are."""

    def __init__(
        self, device: torch.device = _CPU, *, wanted: bool = False, make: _Make | None = None
    ) -> None:
        self._device, self._wanted = device, wanted
        self._make = make or partial(Numbers.made, pinned=device.type == "cuda")
        self._thread: ThreadPoolExecutor | None = None
        self._now: _Batch | None = None
        self._next: _Batch | None = None
        self._last: dict[tuple[str, str], _Batch] = {}
        """By role and stream."""

    def __enter__(self) -> Self:
        if self._wanted:
            self._thread = ThreadPoolExecutor(1, "prefetch", self._settle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._thread = self._now = self._next = None
        self._last.clear()

    def ready(self, role: str, draw: Draw, then: tuple[str, Draw] | None) -> Draw:
        """`draw` with what was foreseen of it; what the next one, a role's, will be asked for begins to be made."""
        if self._thread is None:
            return draw
        if self._now is not None:
            self._now.forget()
        now, self._next = self._next, None
        if now is None or now.draw != draw:
            now = _Batch(draw, {})
        if then is not None:
            self._next = self._begun(self._thread, *then)
        self._now = self._last[role, draw.stream] = now
        return attrs.evolve(draw, source=now)

    def _begun(self, thread: ThreadPoolExecutor, role: str, draw: Draw) -> _Batch:
        last, begun = self._last.get((role, draw.stream)), _Batch(draw, {})
        times = Counter[Numbers]()
        for numbers in last.likewise(draw) if last is not None else ():
            begun.coming[numbers, times[numbers]] = thread.submit(self._make, numbers)
            times[numbers] += 1
        return begun

    def _settle(self) -> None:
        """The thread's own device, whose pinned memory it takes; without, it would wake the first one too."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)
