"""Looking at the student while it trains: a few figures now and then, and the best student kept."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from ardistill.evaluation.judge import Judge
from ardistill.evaluation.report import Row
from ardistill.launch.candidates import of_student
from ardistill.launch.folder import BEST
from ardistill.launch.judging import Bench
from ardistill.launch.parts import save_student
from ardistill.protocols import DistillMethod, Progress, StudentSpec
from ardistill.schedules import Schedule
from ardistill.training.journal import Journal
from ardistill.weights import read_weights

_FIGURES = ("fid", "fid_test", "isc", "kid", "precision", "recall", "accuracy", "nll", "joint_tv")
PHASE = "eval"
"""How metrics.jsonl and TensorBoard call these records."""


@attrs.define(eq=False)
class Watch:
    """Judges the averaged student by its first schedule, on `eval.every_n` images of their own stream.

    best.safetensors is the student whose FID was least so far, with that figure in the file itself, so that the two
    can't part. Nothing of this touches the training's randomness.
    """

    bench: Bench
    method: DistillMethod
    spec: StudentSpec
    plan: Schedule
    folder: Path
    journal: Journal
    progress: Progress
    told: Callable[[int, Mapping[str, float]], None] = lambda *_: None
    """Called with the images and the figures."""
    _judge: Judge | None = None

    def __call__(self, images: int, seconds: float) -> None:
        """After `images` of training that took `seconds`."""
        if self._judge is None:
            self._judge = self.bench.judge(self.progress, n=self.bench.judging.eval.every_n)
        student = self.method.student()
        assert isinstance(student, torch.nn.Module)
        candidate = of_student(self.bench.judging.name, self.plan, student, self.bench.parts.teacher)
        row = self._judge.judged(candidate, "watch").row
        self.journal.record(PHASE, images, {**figures_of(row), "seconds": seconds})
        self.told(images, figures_of(row))
        best = best_so_far(self.folder)
        if best is None or row.fid < best["fid"]:
            about = {"best": {"images": images, "fid": row.fid, "n": row.protocol.n}}
            save_student(self.folder / BEST, student, self.spec, about)


def figures_of(row: Row) -> dict[str, float]:
    """What was measured of a student."""
    figures = {name: getattr(row, name) for name in _FIGURES}
    return {name: value for name, value in figures.items() if value is not None}


def best_so_far(folder: Path) -> dict[str, Any] | None:
    """The images, the FID and the n of best.safetensors; None where there is none yet."""
    path = folder / BEST
    return dict(read_weights(path).about["best"]) if path.is_file() else None
