"""Counter-based randomness: the numbers of image n depend on (seed, stream, n) and on nothing else.

They are the same for any batch size, order, machine and number of processes, so nothing about them needs storing and
a run that resumes needs no generator's state. The generator is Philox (Salmon et al., SC 2011) as numpy ships it: the
key is (seed, stream), the image index is the high word of the counter, so streams and images never overlap.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Literal

import attrs
import numpy as np
import torch
from torch import Tensor

Kind = Literal["normal", "uniform", "integers"]

_WORD = (1 << 64) - 1
_BUFFER_EMPTY = 4
_ROWS, _THREADS = 32, 8
"""Images that a thread fills at once, and threads at most, where there are many."""


def stream_key(*names: str | int) -> int:
    """A 64-bit key for a stream of randomness, from the names of what it is for."""
    text = "\0".join(str(name) for name in names)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def generators(seed: int, stream: str, indices: Iterable[int]) -> Iterator[np.random.Generator]:
    """The generator of each image in `stream`. One object serves them all: use each before taking the next."""
    bits = np.random.Philox(key=np.array([seed & _WORD, stream_key(stream)], dtype=np.uint64))
    state, generator = bits.state, np.random.Generator(bits)
    for index in indices:
        # A fresh Philox at this counter; setting the state is five times quicker than making one.
        state["state"]["counter"][:] = (0, 0, 0, index)
        state["buffer_pos"], state["has_uint32"] = _BUFFER_EMPTY, 0
        bits.state = state
        yield generator


@attrs.frozen
class Numbers:
    """What one name of a stream has for the images start..start+count-1, before it is made."""

    seed: int
    stream: str
    start: int
    count: int
    kind: Kind
    shape: tuple[int, ...]
    high: int = 0
    """Of integers alone, which are below it."""

    def made(self, *, pinned: bool = False) -> Tensor:
        """(count, *shape) float32, or int64 integers, on the CPU; `pinned` is memory that a GPU copies by itself."""
        dtype = torch.int64 if self.kind == "integers" else torch.float32
        made = torch.empty(self.count, *self.shape, dtype=dtype, device="cpu", pin_memory=pinned)
        rows = made.numpy().reshape(self.count, math.prod(self.shape))
        indices = range(self.start, self.start + self.count)
        for row, rng in zip(rows, generators(self.seed, self.stream, indices), strict=True):
            if self.kind == "normal":
                rng.standard_normal(out=row, dtype=np.float32)
            elif self.kind == "uniform":
                rng.random(out=row, dtype=np.float32)
            else:
                row[:] = rng.integers(self.high, size=len(row))
        return made


@attrs.frozen
class Draw:
    """The randomness of the images start..start+count-1; `stream` keeps phases and purposes apart.

    >>> Draw(seed=0, stream="docs", start=4, count=1).normal("x", 2)[0].equal(
    ...     Draw(seed=0, stream="docs", start=0, count=8).normal("x", 2)[4])
    True
    """

    seed: int
    stream: str
    start: int
    count: int
    device: torch.device | str = "cpu"
    of: tuple[int, int] | None = None
    """The first image of the update and how many it takes, where these are a share of them."""
    source: Callable[[Numbers], Tensor] = Numbers.made
    """Where numbers come from: another place than `made` has the same ones, sooner."""

    def __len__(self) -> int:
        return self.count

    @property
    def update(self) -> "Draw":
        """The draw of the whole update.

        >>> share = Draw(seed=0, stream="docs", start=4, count=2, of=(0, 8))
        >>> share.update.indices().tolist()
        [0, 1, 2, 3, 4, 5, 6, 7]
        """
        if self.of is None:
            return self
        start, count = self.of
        return attrs.evolve(self, start=start, count=count, of=None)

    def indices(self) -> Tensor:
        """(B,) int64: the images' own numbers."""
        return torch.arange(self.start, self.start + self.count, device=self.device)

    def normal(self, name: str, *shape: int) -> Tensor:
        return self._of("normal", name, shape)

    def uniform(self, name: str, *shape: int) -> Tensor:
        return self._of("uniform", name, shape)

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        return self._of("integers", name, shape, high)

    def _of(self, kind: Kind, name: str, shape: tuple[int, ...], high: int = 0) -> Tensor:
        stream = f"{self.stream}/{name}"
        numbers = Numbers(self.seed, stream, self.start, self.count, kind, shape, high)
        return self.source(numbers).to(self.device)


def normals(seed: int, stream: str, name: str, indices: Sequence[int], *shape: int) -> Tensor:
    """(n, *shape): what `Draw(seed, stream, ...).normal(name, *shape)` gives to these images, in any order.

    >>> normals(0, "docs", "x", [7, 4], 2)[1].equal(Draw(seed=0, stream="docs", start=4, count=1).normal("x", 2)[0])
    True
    """
    size = int(np.prod(shape, dtype=np.int64))
    rows = np.empty((len(indices), size), dtype=np.float32)

    def fill(part: slice) -> None:
        for row, rng in zip(rows[part], generators(seed, f"{stream}/{name}", indices[part]), strict=True):
            rng.standard_normal(out=row, dtype=np.float32)

    parts = [slice(start, start + _ROWS) for start in range(0, len(indices), _ROWS)]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:  # numpy fills without Python's lock
        list(pool.map(fill, parts))
    return torch.from_numpy(rows).reshape(len(indices), *shape)
