"""The highest memory within a block, the memory that is left, and the largest batch that fits into it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
import torch

T = TypeVar("T")

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_CGROUP_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By controller, "" for cgroup v2: the limit, what is used, and what of that is a cache that is given up on demand."""


@attrs.define
class Peak:
    """Filled when the block ends; None where the system does not tell."""

    bytes: int | None = None


@contextmanager
def peak(device: torch.device) -> Iterator[Peak]:
    """The highest memory within the block, what was there before included: weights, and on a CPU the whole process.

    On CUDA it is that of tensors on `device`, elsewhere the resident set (Linux alone tells). Blocks do not nest.
    """
    found = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found.bytes = torch.cuda.max_memory_allocated(device)
        return
    restarted = _restart_high_water()
    yield found
    if restarted:
        found.bytes = _kilobytes(_PROC / "self" / "status", "VmHWM")


def _restart_high_water() -> bool:
    """From now on VmHWM is the highest resident set since now (proc(5), clear_refs)."""
    try:
        (_PROC / "self" / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []


def _kilobytes(path: Path, name: str) -> int | None:
    """Bytes of the line `name: N kB`."""
    found = [line.split()[1] for line in _lines(path) if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None


def available(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Bytes this process may still take without swapping: of the machine, and of each control group it is in.

    None where the system does not tell.
    """
    rooms = [_kilobytes(proc / "meminfo", "MemAvailable")]
    for line in _lines(proc / "self" / "cgroup"):
        controllers, _, path = line.partition(":")[2].partition(":")
        for controller in set(controllers.split(",")) & set(_CGROUP_FILES):
            top = cgroups / controller
            here = top / path.lstrip("/")
            folders = [here, *here.parents]
            rooms += [_room(folder, controller) for folder in folders if folder.is_relative_to(top)]
    return min((room for room in rooms if room is not None), default=None)


def _room(folder: Path, controller: str) -> int | None:
    """What a control group still allows; None where it has no limit, or is none."""
    limit, used, cache = _CGROUP_FILES[controller]
    bounds = [line for name in (limit, used) for line in _lines(folder / name)[:1]]
    if len(bounds) < 2 or not all(bound.isdigit() for bound in bounds):
        return None
    stat = dict(line.split()[:2] for line in _lines(folder / "memory.stat") if line)
    return max(0, int(bounds[0]) - int(bounds[1]) + int(stat.get(cache, 0)))


def unless_full(call: Callable[[], T], device: torch.device) -> T | None:
    """What `call` gives; None where the memory of a GPU does not suffice, whose cache is then given back."""
    try:
        return call()
    except torch.OutOfMemoryError:
        pass
    if device.type == "cuda":  # only here are the error gone, and the tensors of the frames that it held
        torch.cuda.empty_cache()
    return None


def largest_batch(
    seconds_at: Callable[[int], float],
    start: int,
    device: torch.device,
    *,
    most: int = 1024,
    patience: float = 30.0,
    room: Callable[[], int | None] = available,
) -> int | None:
    """The largest of start, 2 start, 4 start, ..., up to `most`, that fits; None where not even `start` does.

    `seconds_at(batch)` does the work and says how long it took; where that is beyond `patience` seconds, no larger
    batch is tried. On CUDA a batch fits unless memory runs out. A CPU's would rather swap: there one is tried only if,
    growing as the batch does, it would take less than half of the memory that is left; where that is not known,
    the answer is None.
    """
    left = None
    with peak(device) as idle:
        pass
    if device.type != "cuda":
        left = room()
        if left is None or idle.bytes is None:
            return None
    found, batch = None, start
    while batch <= most:
        with peak(device) as high:
            seconds = unless_full(partial(seconds_at, batch), device)
        if seconds is None:
            break
        found, batch = batch, 2 * batch
        grown = (high.bytes or 0) - (idle.bytes or 0)
        if seconds > patience or (left is not None and 2 * grown > left / 2):
            break
    return found


def largest_of(
    seconds_at: Callable[[int], float],
    batches: Sequence[int],
    device: torch.device,
    *,
    most: int = 1024,
    patience: float = 30.0,
) -> int | None:
    """`largest_batch` from the last of `batches`; where that does not fit, from the one before it, and so on."""
    tried = (
        largest_batch(seconds_at, start, device, most=most, patience=patience) for start in reversed(batches)
    )
    return next((batch for batch in tried if batch is not None), None)
