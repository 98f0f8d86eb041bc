"""The figures of `benchmarks/training.py` as records, as JSON, and as rows of a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
from cattrs import BaseValidationError, Converter

from ardistill.benching.result import now
from ardistill.errors import RunFolderError
from ardistill.files import json_text, write_atomic

FORMAT = 1
STEP_BOUND, MEMORY_BOUND = 3.5, 1 << 30
"""Guided passes of the teacher that a step of DD2's distillation may take; bytes that scoring 64 images may take."""
COLUMNS = ("method", "phase", "role", "images", "s/step", "images/s", "peak GB", "guided passes", "CPU", "")
_CONVERTER = Converter(forbid_extra_keys=True)


@attrs.frozen
class Row:
    """An update of one role: seconds are the median of the repeats, the fastest and the slowest.

    `images` are those of the update. `peak_bytes` is the highest memory meanwhile: on CUDA of all tensors, elsewhere of
    the whole process. `passes` is the update's time over that of guided teacher-forced passes over as many images, by
    the median over rounds; `pass_seconds` is the time of those. `cpu_passes` is the same ratio of the process's CPU
    time, where the device is a CPU: busy neighbours disturb it less. It is what `bound` judges there.
    """

    method: str
    phase: str
    role: str
    images: int
    repeats: int
    seconds: float
    fastest: float
    slowest: float
    pass_seconds: float
    passes: float
    cpu_passes: float | None = None
    peak_bytes: int | None = None
    bound: float | None = None

    @property
    def missed(self) -> bool:
        passes = self.passes if self.cpu_passes is None else self.cpu_passes
        return self.bound is not None and not passes <= self.bound


@attrs.frozen
class Scoring:
    """What scoring images against the codebook takes, there and back: seconds, and memory beside what it is given."""

    images: int
    draws: int
    tokens: int
    codes: int
    width: int
    seconds: float
    bytes: int | None

    @property
    def missed(self) -> bool:
        return self.bytes is not None and self.bytes > MEMORY_BOUND


@attrs.frozen
class Result:
    """A file of the benchmark. `seconds` is what all of it took, loading included."""

    rows: tuple[Row, ...]
    scoring: Scoring | None
    config: Mapping[str, Any]
    command: str
    seconds: float
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    date: str = attrs.field(factory=now)
    format: int = attrs.field(default=FORMAT, validator=attrs.validators.in_((FORMAT,)))

    @property
    def missed(self) -> bool:
        return any(row.missed for row in self.rows) or (self.scoring is not None and self.scoring.missed)

    def save(self, path: Path) -> None:
        write_atomic(path, json_text(attrs.asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            return _CONVERTER.structure(json.loads(path.read_text()), cls)
        except (OSError, ValueError, BaseValidationError) as error:
            raise RunFolderError(
                f"{path} is no result of benchmarks/training.py ({error}); measure again"
            ) from error


def cells(row: Row) -> tuple[str, ...]:
    """Those of `COLUMNS`."""
    judged = "" if row.bound is None else f"{'MISSED' if row.missed else 'ok'}, at most {row.bound:g}"
    return (
        row.method,
        row.phase,
        row.role,
        str(row.images),
        f"{row.seconds:.3g}",
        f"{row.images / row.seconds:.3g}",
        "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e9:.2f}",
        f"{row.passes:.2f}",
        "-" if row.cpu_passes is None else f"{row.cpu_passes:.2f}",
        judged,
    )


def notes(result: Result) -> Sequence[str]:
    """What the rows do not hold: scoring."""
    if (found := result.scoring) is None:
        return []
    took = "the system does not tell" if found.bytes is None else f"{found.bytes / 2**20:.0f} MiB"
    judged = "MISSED" if found.missed else "ok"
    return [
        f"scoring {found.images} images ({found.draws} draws of {found.tokens} tokens against {found.codes} codes of "
        f"{found.width}), there and back: {found.seconds:.3g} s, and beside what it is given {took} ({judged}, at most "
        f"{MEMORY_BOUND >> 20} MiB)"
    ]
