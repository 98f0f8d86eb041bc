"""What a run tells about its training: metrics.jsonl for programs, TensorBoard events for people."""

import json
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ardistill.files import write_atomic


class Journal:
    """Appends one JSON line a record. What an earlier session told beyond `start` images is dropped: it comes again.

    TensorBoard's events are a convenience: where they can't be written, a warning says so once, and training goes on.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            lines = self.path.read_text(errors="replace").splitlines(keepends=True)
            write_atomic(self.path, "".join(line for line in lines if _images(line) <= start))
        self._file = self.path.open("a", buffering=1)
        self._events: SummaryWriter | None = None
        self._try(lambda: self._open(folder / "tensorboard", start))

    def _open(self, folder: Path, start: int) -> None:
        self._events = SummaryWriter(folder, purge_step=start)

    def record(self, phase: str, images: int, values: Mapping[str, float]) -> None:
        """`images` counts from the start of the run."""
        self._file.write(json.dumps({"phase": phase, "images": images, **values}) + "\n")
        if (events := self._events) is not None:
            for name, value in values.items():
                self._try(partial(events.add_scalar, f"{phase}/{name}", value, images))

    def picture(self, name: str, images: int, grid_CHW: Tensor) -> None:
        """`grid_CHW` in [0, 1]."""
        if (events := self._events) is not None:
            self._try(lambda: events.add_image(name, grid_CHW, images))

    def close(self) -> None:
        self._file.close()
        if (events := self._events) is not None:
            self._try(events.close)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # its thread hands over whatever it died of
            self._events = None
            warnings.warn(
                f"TensorBoard's events can't be written any more ({error}); metrics.jsonl has every figure",
                RuntimeWarning,
                stacklevel=3,
            )


class Means:
    """Of what was logged since the last record, by role and name."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, role: str, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._values.setdefault(f"{role}/{name}", []).append(value)

    def take(self) -> dict[str, float]:
        means = {name: float(torch.stack(values).mean()) for name, values in self._values.items()}
        self._values.clear()
        return means


def _images(line: str) -> float:
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill
