"""From candidates to the report's rows."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import attrs
import torch
from torch import Tensor

from ardistill.evaluation import fidelity
from ardistill.evaluation.drawing import Candidate, Drawn, Easel, Standing
from ardistill.evaluation.fidelity import Features, frechet
from ardistill.evaluation.report import Row, gap_closed
from ardistill.evaluation.speed import Speed, measure
from ardistill.protocols import ARTeacher, Dataset, FeatureNetwork, Progress, Split

REAL, REDRAW = "real", "teacher-redraw"


@attrs.frozen(eq=False)
class Evaluation:
    """Rows for the report, images for the grid, and what the report says of how both were made.

    `floor` is the FID between held-out and reference images, both real. `samples` maps "real" and every
    candidate's name to (lines * columns, channels, H, W), the classes 0..columns-1 line by line. `seconds`
    is wall time by phase.
    """

    rows: tuple[Row, ...]
    floor: float
    samples: Mapping[str, Tensor]
    columns: tuple[str, ...]
    protocol: Mapping[str, Any]
    seconds: Mapping[str, float]


class _Laps:
    """Wall seconds between calls, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def __call__(self, phase: str) -> None:
        now = perf_counter()
        self.seconds[phase], self._last = now - self._last, now


def _only(candidates: Iterable[Candidate], standing: Standing) -> Candidate | None:
    found = [candidate for candidate in candidates if candidate.standing == standing]
    if len(found) > 1:
        raise ValueError(f"there is one {standing} at most, not {[candidate.name for candidate in found]}")
    return found[0] if found else None


def _row(
    candidate: Candidate, drawn: Drawn, real: Features, held_out: Features, to_teacher: float | None
) -> Row:
    scores = fidelity.compare(drawn.features, real)
    return Row(
        name=candidate.name,
        passes=candidate.passes,
        parameters=candidate.parameters,
        fid=scores.fid,
        fid_test=frechet(drawn.features, held_out),
        fid_teacher=to_teacher,
        isc=scores.isc,
        precision=scores.precision,
        recall=scores.recall,
        accuracy=drawn.accuracy,
        nll=drawn.nll,
    )


def _measure(candidates: Iterable[Candidate], easel: Easel, batch: int, repeats: int) -> dict[str, Speed]:
    draw = easel.draw("speed", 0, batch)
    labels_B = easel.labels(draw)
    works = {each.name: partial(easel.images, each, labels_B, draw) for each in candidates}
    return measure(works, batch, torch.device(draw.device), repeats=repeats)


def _with_speed(row: Row, speed: Speed, teacher: Speed | None) -> Row:
    return attrs.evolve(
        row,
        seconds_per_image=speed.seconds,
        seconds_range=(speed.fastest, speed.slowest),
        speedup=None if teacher is None else teacher.seconds / speed.seconds,
    )


def _with_latency(row: Row, alone: Speed, teacher: Speed | None) -> Row:
    return attrs.evolve(
        row,
        latency=alone.seconds,
        latency_range=(alone.fastest, alone.slowest),
        latency_speedup=None if teacher is None else teacher.seconds / alone.seconds,
    )


def _with_gaps(row: Row, baseline: Row, teacher: Row) -> Row:
    return attrs.evolve(
        row,
        gap_real=gap_closed(baseline.fid, row.fid, teacher.fid),
        gap_teacher=gap_closed(baseline.fid_teacher, row.fid_teacher, teacher.fid_teacher),
    )


@torch.no_grad()
def evaluate(
    candidates: Sequence[Candidate],
    teacher: ARTeacher,
    dataset: Dataset,
    network: FeatureNetwork,
    *,
    n: int,
    batch: int,
    seed: int,
    progress: Progress,
    reference: Split = "train",
    columns: int = 10,
    lines: int = 2,
    speed_batch: int = 64,
    repeats: int = 9,
) -> Evaluation:
    """One row for each candidate, in their order, from `n` images each.

    `fid`, precision and recall are against n images of the split `reference` (ImageNet's practice: the
    training images), `fid_test` against n held-out ones, `fid_teacher` against the teacher's draw; the
    teacher's own row has there a second draw. Speed is of generating and decoding `speed_batch` images;
    `repeats` 0 leaves it out.
    """
    names = [candidate.name for candidate in candidates]
    if len({*names, REAL, REDRAW}) < len(names) + 2:
        raise ValueError(
            f"each candidate needs a name of its own, none of them {REAL!r} or {REDRAW!r}: {names}"
        )
    yardstick, baseline = _only(candidates, "teacher"), _only(candidates, "baseline")
    fidelity.check_enough(n, network.n_features, "the images to evaluate")
    columns, lines = min(columns, teacher.n_classes), max(1, min(lines, n // teacher.n_classes))
    easel = Easel(teacher, fidelity.extractor(network), n, batch, seed, columns, lines, progress)

    lap = _Laps()
    real, shown_NCHW = easel.real(dataset, reference)
    held_out = real if reference == "test" else easel.real(dataset, "test")[0]
    floor = frechet(held_out, real)
    lap("real images")
    drawn: dict[str, Drawn] = {}
    for candidate in candidates:
        drawn[candidate.name] = easel.drawn(candidate, candidate.name)
        lap(candidate.name)

    to_teacher: dict[str, float] = {}
    if yardstick is not None:
        first = drawn[yardstick.name].features
        to_teacher = {name: frechet(each.features, first) for name, each in drawn.items()}
        to_teacher[yardstick.name] = frechet(easel.drawn(yardstick, REDRAW).features, first)
        lap(REDRAW)
    rows = {
        each.name: _row(each, drawn[each.name], real, held_out, to_teacher.get(each.name))
        for each in candidates
    }
    if yardstick is not None and baseline is not None:
        ends = rows[baseline.name], rows[yardstick.name]
        rows = {name: _with_gaps(row, *ends) for name, row in rows.items()}
    lap("distances")
    if repeats:
        for size, noted in ((speed_batch, _with_speed), (1, _with_latency)):
            speeds = _measure(candidates, easel, size, repeats)
            slow = None if yardstick is None else speeds[yardstick.name]
            rows = {name: noted(row, speeds[name], slow) for name, row in rows.items()}
        lap("speed")
    protocol = {
        "reference": f"{dataset.name}/{reference}",
        "held_out": f"{dataset.name}/test",
        "n": n,
        "labels": f"balanced: image i, real or drawn, shows class i mod {teacher.n_classes}",
        "features": network.name,
        "images": "rounded to bytes, not resized",
        "guidance": attrs.asdict(teacher.guidance),
        "floor": floor,
        "speed": f"generating and decoding {speed_batch} images, or one; median of {repeats} repeats taken in turn",
    }
    samples = {REAL: shown_NCHW} | {name: each.shown_NCHW for name, each in drawn.items()}
    return Evaluation(
        tuple(rows.values()), floor, samples, tuple(map(str, range(columns))), protocol, lap.seconds
    )
