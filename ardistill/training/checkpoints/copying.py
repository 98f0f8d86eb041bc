"""Copies of the states for a thread that writes them while training goes on."""

import resource
import sys
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Mapping[str, Tensor]]
"""By file, then by key."""

SHARE = 0.1
"""Of the most memory that the process has ever taken, what copies may take."""


def affordable(tensors: Tensors) -> bool:
    """Whether copies of what lies in the CPU's memory cost no more than `SHARE`; a GPU's memory is not copied to."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return sum(value.nbytes for value in _all(tensors) if value.device.type == "cpu") <= SHARE * highest


class Copies:
    """Copies in the CPU's memory, which is used again the next time; that of a GPU's tensors is pinned."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Tensor] = {}

    @torch.no_grad()
    def of(self, tensors: Tensors) -> dict[str, dict[str, Tensor]]:
        """What the tensors hold now. Good until the next call."""
        wanted = {(file, key): value for file, values in tensors.items() for key, value in values.items()}
        self._held = {place: held for place, held in self._held.items() if _fits(held, wanted.get(place))}
        for place, value in wanted.items():
            if place not in self._held:
                self._held[place] = torch.empty(
                    value.shape, dtype=value.dtype, pin_memory=value.device.type == "cuda"
                )
            self._held[place].copy_(value, non_blocking=True)
        for device in {value.device for value in wanted.values() if value.device.type == "cuda"}:
            torch.cuda.current_stream(device).synchronize()
        return {file: {key: self._held[file, key] for key in values} for file, values in tensors.items()}


def _fits(held: Tensor, value: Tensor | None) -> bool:
    return (
        value is not None
        and (held.shape, held.dtype) == (value.shape, value.dtype)
        and held.is_pinned() == (value.device.type == "cuda")
    )


def _all(tensors: Tensors) -> Iterable[Tensor]:
    return (value for values in tensors.values() for value in values.values())
