"""Counter-based randomness: the numbers of image n depend on (seed, stream, n) and on nothing else.

They are the same for any batch size, order, machine and number of processes, so nothing about them needs storing and
a run that resumes needs no generator's state. The generator is Philox (Salmon et al., SC 2011) as numpy ships it: the
key is (seed, stream), the image index is the high word of the counter, so streams and images never overlap.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

import attrs
import numpy as np
import torch
from torch import Tensor

_WORD = (1 << 64) - 1
_BUFFER_EMPTY = 4


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

    def __len__(self) -> int:
        return self.count

    def indices(self) -> Tensor:
        """(B,) int64: the images' own numbers."""
        return torch.arange(self.start, self.start + self.count, device=self.device)

    def normal(self, name: str, *shape: int) -> Tensor:
        return self._fill(
            name, shape, lambda rng, size: rng.standard_normal(size, dtype=np.float32), np.float32
        )

    def uniform(self, name: str, *shape: int) -> Tensor:
        return self._fill(name, shape, lambda rng, size: rng.random(size, dtype=np.float32), np.float32)

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        return self._fill(name, shape, lambda rng, size: rng.integers(high, size=size), np.int64)

    def _fill(
        self,
        name: str,
        shape: tuple[int, ...],
        sample: Callable[[np.random.Generator, int], np.ndarray],
        dtype: type[np.generic],
    ) -> Tensor:
        size = int(np.prod(shape, dtype=np.int64))
        rows = np.empty((self.count, size), dtype=dtype)
        stream = f"{self.stream}/{name}"
        indices = range(self.start, self.start + self.count)
        for row, rng in zip(rows, generators(self.seed, stream, indices), strict=True):
            row[:] = sample(rng, size)
        return torch.from_numpy(rows).reshape(self.count, *shape).to(self.device)
