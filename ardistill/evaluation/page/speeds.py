"""The table of speed: seconds an image by batch size, with and without decoding, eager and compiled."""

from collections.abc import Mapping, Sequence

import attrs

from ardistill.evaluation.page.columns import COUNT, MISSING
from ardistill.evaluation.page.distances import milliseconds
from ardistill.evaluation.report import Report
from ardistill.evaluation.timing.speed import Timing

Mode = tuple[bool, bool]
"""(compiled, decoding)"""


@attrs.frozen
class Cell:
    """Milliseconds an image: the median, and the span of the repeats."""

    median: str
    span: str = ""


@attrs.frozen
class Line:
    """A generator at one batch size. `batch` is told where it differs from line to line."""

    name: str
    batch: str
    cells: tuple[Cell, ...]
    parameters: str
    memory: str


@attrs.frozen
class Block:
    """Lines of one batch size, or of the largest that fits."""

    heading: str
    lines: tuple[Line, ...]


@attrs.frozen
class SpeedTable:
    modes: tuple[Mode, ...]
    blocks: tuple[Block, ...]
    repeats: str
    has_memory: bool


def speed_table(report: Report) -> SpeedTable | None:
    """None where nothing was timed."""
    timings = report.speed
    if not timings:
        return None
    modes = tuple(
        mode
        for mode in ((False, True), (False, False), (True, True), (True, False))
        if any(_mode(timing) == mode for timing in timings)
    )
    fixed = sorted({timing.batch for timing in timings if not timing.largest})
    chosen = [
        (_heading(batch), [t for t in timings if not t.largest and t.batch == batch]) for batch in fixed
    ]
    chosen.append(("the largest batch that fits", [t for t in timings if t.largest]))
    counts = {row.name: COUNT.cell(row) for row in report.rows}
    blocks = tuple(Block(heading, tuple(_lines(found, modes, counts))) for heading, found in chosen if found)
    repeats = sorted({timing.repeats for timing in timings})
    return SpeedTable(
        modes,
        blocks,
        " or ".join(str(each) for each in repeats),
        any(timing.peak_bytes is not None for timing in timings),
    )


def _mode(timing: Timing) -> Mode:
    return timing.compiled, timing.decoding


def _heading(batch: int) -> str:
    return "one image alone" if batch == 1 else f"batches of {batch:,}"


def _lines(timings: Sequence[Timing], modes: Sequence[Mode], counts: Mapping[str, str]) -> list[Line]:
    made = []
    for name, batch in dict.fromkeys((timing.name, timing.batch) for timing in timings):
        own = {_mode(t): t for t in timings if (t.name, t.batch) == (name, batch)}
        peaks = [timing.peak_bytes for timing in own.values() if timing.peak_bytes is not None]
        cells = tuple(_cell(own.get(mode)) for mode in modes)
        told = f"{batch:,}" if any(timing.largest for timing in own.values()) else ""
        peak = memory(max(peaks)) if peaks else MISSING
        made.append(Line(name, told, cells, counts.get(name, MISSING), peak))
    return made


def _cell(timing: Timing | None) -> Cell:
    if timing is None:
        return Cell(MISSING)
    median, fastest, slowest = (_three(value) for value in (timing.seconds, timing.fastest, timing.slowest))
    return Cell(median, f"{fastest}–{slowest}")


def _three(seconds: float) -> str:
    value = 1000 * seconds
    return milliseconds(round(seconds, 3)) if value >= 1000 else f"{value:#.3g}".rstrip(".")


def memory(n_bytes: int) -> str:
    """In a unit that leaves few digits.

    >>> memory(12_345_678), memory(9_876_543_210)
    ('12 MB', '9.9 GB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
