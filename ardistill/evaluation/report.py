"""What a run is judged by: a row for each generator, and all one needs to believe or repeat it."""

import json
import math
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import attrs
import torch
from cattrs import BaseValidationError, Converter

import ardistill
from ardistill.errors import RunFolderError
from ardistill.evaluation.protocol import Protocol
from ardistill.evaluation.timing.speed import Timing
from ardistill.files import json_text, write_atomic

_CONVERTER = Converter(forbid_extra_keys=True)

FORMAT = 1

PREPARING, EVALUATING = "preparing", "evaluating "
"""How `Report.seconds` calls what comes before training, and begins the names of what comes after."""


@attrs.frozen
class Row:
    """One generator's figures, and the protocol they were measured by. None is what was not measured or has no meaning.

    `fid`, `kid`, `precision` and `recall` are against the real images of `protocol.reference`, `fid_test`
    against held-out ones, `fid_teacher` against the teacher's samples (the teacher's own: a second,
    independent draw). `kid_std` is over KID's subsets. `isc` and `accuracy` (0..1) come from the feature network's
    logits, `nll` is in nats per token. `tokens_tv` and `joint_tv` (0..1) are total variations: of each step's histogram
    of tokens from the teacher's samples', averaged over the steps, and of whole sequences from the teacher's joint
    distribution, where that can be written down. `ppl` is the perceptual path length. `passes` counts evaluations of a
    transformer, gaps are in per cent. `seconds_per_image` and its `speedup` over the teacher are at the largest
    batch that every candidate was timed at, `latency` and `latency_speedup` are of one image alone, decoding included;
    ranges go from the fastest to the slowest repeat. `more` has the figures of `eval.metrics`, by name.
    """

    name: str
    passes: int
    fid: float
    protocol: Protocol
    fid_test: float | None = None
    isc: float | None = None
    kid: float | None = None
    kid_std: float | None = None
    precision: float | None = None
    recall: float | None = None
    accuracy: float | None = None
    fid_teacher: float | None = None
    nll: float | None = None
    tokens_tv: float | None = None
    joint_tv: float | None = None
    ppl: float | None = None
    parameters: int | None = None
    seconds_per_image: float | None = None
    seconds_range: tuple[float, float] | None = None
    speedup: float | None = None
    latency: float | None = None
    latency_range: tuple[float, float] | None = None
    latency_speedup: float | None = None
    gap_real: float | None = None
    gap_teacher: float | None = None
    more: Mapping[str, float] = attrs.field(factory=dict)


def gap_closed(onestep: float | None, student: float | None, teacher: float | None) -> float | None:
    """(F_onestep - F_student) / (F_onestep - F_teacher) in per cent: 0 at the baseline, 100 at the teacher.

    None where a distance is missing, or the teacher is no better than the baseline: there is no gap to close.
    """
    if onestep is None or student is None or teacher is None or not onestep > teacher:
        return None
    return 100 * ((onestep - student) / (onestep - teacher))


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "ardistill": ardistill.__version__,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def hardware(device: torch.device | str = "cpu") -> dict[str, Any]:
    """The processor, its cores this process may use, the threads it does use, and the networks' device."""
    device = torch.device(device)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"cpu": _cpu_model(), "cores": usable, "threads": torch.get_num_threads(), "device": name}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@attrs.frozen
class Report:
    """`report.json`; docs/report.schema.json is its schema.

    `floor` is the FID between held-out and reference images, both real. `seconds` is wall time: of preparing, of each
    phase of training, and of evaluating. `throughput` is a second's work: the images of each phase, over all its
    roles, and what was prepared, e.g. "preparing teacher samples". `speed` has every row at every batch size.
    `format` changes when a reader has to.
    """

    rows: tuple[Row, ...]
    config: Mapping[str, Any]
    command: str
    floor: float | None = None
    speed: tuple[Timing, ...] = ()
    seconds: Mapping[str, float] = attrs.field(factory=dict)
    throughput: Mapping[str, float] = attrs.field(factory=dict)
    versions: Mapping[str, str] = attrs.field(factory=versions)
    hardware: Mapping[str, Any] = attrs.field(factory=hardware)
    date: str = attrs.field(factory=_now)
    format: int = attrs.field(default=FORMAT, validator=attrs.validators.in_((FORMAT,)))

    @property
    def protocol(self) -> Protocol:
        """That of all its rows."""
        return self.rows[0].protocol

    @property
    def n(self) -> int:
        """Images behind every distance."""
        return self.protocol.n

    @property
    def seed(self) -> int:
        return self.protocol.seed

    @property
    def phase_seconds(self) -> Mapping[str, float]:
        """Of training alone, by phase."""
        return {
            name: seconds
            for name, seconds in self.seconds.items()
            if name != PREPARING and not name.startswith(EVALUATING)
        }

    @property
    def training_seconds(self) -> float | None:
        """What the student took to make, preparing included; None where the report is of an evaluation alone."""
        made = {**self.phase_seconds, **{k: v for k, v in self.seconds.items() if k == PREPARING}}
        return sum(made.values()) if made else None

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def text(self) -> str:
        """Strict JSON; a number that JSON has no word for (NaN, infinity) is null."""
        return json_text(_plain(attrs.asdict(self)))

    def save(self, path: Path) -> None:
        write_atomic(path, self.text())

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            read = json.loads(path.read_text())
            if not isinstance(read, dict):
                raise ValueError("it holds no object")
            return _CONVERTER.structure(read, cls)
        except (OSError, ValueError, BaseValidationError) as error:
            raise RunFolderError(
                f"{path} is not a report of ardistill ({error}); evaluate the run again"
            ) from error


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Path():
            return str(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
