"""What a run tells about its training: metrics.jsonl for programs, TensorBoard events for people."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ardistill.files import write_atomic


class Journal:
    """Appends one JSON line a record. What an earlier session told beyond `start` images is dropped: it comes again."""

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            lines = self.path.read_text(errors="replace").splitlines(keepends=True)
            write_atomic(self.path, "".join(line for line in lines if _images(line) <= start))
        self._file = self.path.open("a", buffering=1)
        self._events = SummaryWriter(folder / "tensorboard", purge_step=start)

    def record(self, phase: str, images: int, values: Mapping[str, float]) -> None:
        """`images` counts from the start of the run."""
        self._file.write(json.dumps({"phase": phase, "images": images, **values}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(f"{phase}/{name}", value, images)

    def picture(self, name: str, images: int, grid_CHW: Tensor) -> None:
        """`grid_CHW` in [0, 1]."""
        self._events.add_image(name, grid_CHW, images)

    def close(self) -> None:
        self._file.close()
        self._events.close()


def _images(line: str) -> float:
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill
