"""The figures as records and as JSON; docs/bench.schema.json is its schema (`python -m ardistill.benching.schema`)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import attrs
import torch
from cattrs import BaseValidationError, Converter

from ardistill.config.bench import Mode, Precision
from ardistill.errors import RunFolderError
from ardistill.evaluation.report import versions
from ardistill.files import json_text, write_atomic

FORMAT = 1
_CONVERTER = Converter(forbid_extra_keys=True)


@attrs.frozen
class Part:
    """Seconds an image of one part of a call: the median of the repeats, the fastest and the slowest.

    `ceiling` is the share of the device's products a second that it reached; None where it was not counted.
    """

    seconds: float
    fastest: float
    slowest: float
    ceiling: float | None = None


@attrs.frozen
class Row:
    """One generator in one mode and batch. `draw` makes its random numbers, `tokens` latents of them, `decode` images.

    `whole` is all three in one call. `largest` says that the search for the largest batch ended here: a larger one does
    not fit, or would take too much of the time. `peak_bytes` is the highest memory during the calls: on CUDA of all
    tensors, weights included, elsewhere of the whole process. `speedup` is the teacher's seconds an image over these,
    whole, in the same mode and batch; the largest batches are compared with one another, whatever their sizes.
    `weights_read` is the time that reading the weights takes, as often as they are read, at the speed of a large copy,
    over the time of `tokens`: near 1, nothing but less memory would be faster.
    """

    name: str
    mode: Mode
    batch: int
    repeats: int
    draw: Part
    tokens: Part
    decode: Part
    whole: Part
    largest: bool = False
    peak_bytes: int | None = None
    speedup: float | None = None
    weights_read: float | None = None


@attrs.frozen
class Timed:
    """A generator. `passes` counts evaluations of a transformer; figures are of one image, `weight_bytes` of a call."""

    name: str
    passes: int
    parameters: int
    weights: str
    tokens_flops: int
    decode_flops: int
    weight_bytes: int


@attrs.frozen
class LeftOut:
    """What was asked for and not timed. `batch` is None where it is all of them."""

    name: str
    mode: Mode
    batch: int | None
    reason: str


@attrs.frozen
class Ceiling:
    """What the device reached in the same process: a product of two matrices of that side, a copy of so many bytes."""

    flops: float
    bytes: float
    side: int
    copied: int


@attrs.frozen
class Given:
    """Seconds an image of somebody else's code, as they were given to the command: nothing here measured them."""

    of: str
    batch: int
    tokens: float | None
    whole: float | None


def all_versions(device: torch.device) -> dict[str, str]:
    """With CUDA's where it is used."""
    more = {"cuda": str(torch.version.cuda)} if device.type == "cuda" else {}
    return {**versions(), **more}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@attrs.frozen
class Result:
    """A bench's file. `held` says what the precision is; `seconds` is what all of it took, loading left out."""

    rows: tuple[Row, ...]
    timed: tuple[Timed, ...]
    left_out: tuple[LeftOut, ...]
    ceiling: Ceiling
    precision: Precision
    held: str
    config: Mapping[str, Any]
    command: str
    seconds: float
    given: Given | None
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    date: str = attrs.field(factory=now)
    format: int = attrs.field(default=FORMAT, validator=attrs.validators.in_((FORMAT,)))

    def ratio(self, row: Row) -> Mapping[str, float]:
        """Given seconds over the row's, by part, where the batches are the same."""
        if self.given is None or row.batch != self.given.batch:
            return {}
        theirs = {"tokens": self.given.tokens, "whole": self.given.whole}
        ours = {"tokens": row.tokens.seconds, "whole": row.whole.seconds}
        return {part: seconds / ours[part] for part, seconds in theirs.items() if seconds is not None}

    def save(self, path: Path) -> None:
        write_atomic(path, json_text(attrs.asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            read = json.loads(path.read_text())
            if not isinstance(read, dict):
                raise ValueError("it holds no object")
            return _CONVERTER.structure(read, cls)
        except (OSError, ValueError, BaseValidationError) as error:
            raise RunFolderError(
                f"{path} is no result of `ardistill bench` ({error}); measure again"
            ) from error
