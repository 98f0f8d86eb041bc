"""What a person sees while and after work is done: progress on stderr, tables on stdout.

On a terminal rich draws them; elsewhere they are plain lines that read the same in every log. rich is
imported only where it draws.
"""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ardistill.wording import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from ardistill.protocols import Progress  # which imports torch

QUIET_SECONDS = 10.0
"""Never more than one line in this time, but for the last of a piece of work."""
LONGEST_SILENCE = 60.0
SHARE = 0.1
"""Of the work, after which a line is due."""


@contextmanager
def progress(stream: TextIO | None = None) -> "Iterator[Progress]":
    """Bars with the time left where `stream` (stderr) is a terminal, a few lines where it is not."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(file=stream)) as bars:
        yield BarReporter(bars)


class BarReporter:
    """One bar for each piece of work."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def advance(self, done: int, total: int, what: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)


class Lines:
    """A line after a tenth of the work or a minute, at most one in ten seconds, and always one at the end."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._what: str | None = None
        self._done = self._first = self._said = 0
        self._start = self._spoke = 0.0

    def advance(self, done: int, total: int, what: str) -> None:
        now = self._clock()
        if what != self._what or done < self._done:
            self._what, self._first, self._said, self._done = what, done, done, -1
            self._start = self._spoke = now
        ended = done >= total and not self._done >= total
        self._done = done
        silence, moved = now - self._spoke, (done - self._said) / max(total, 1)
        due = silence >= QUIET_SECONDS and (moved >= SHARE or silence >= LONGEST_SILENCE)
        if due or ended:
            self._said, self._spoke = done, now
            print(f"{what}: {done}/{total} ({self._time(now, total)})", file=self._stream, flush=True)

    def _time(self, now: float, total: int) -> str:
        passed, moved = now - self._start, self._done - self._first
        if self._done >= total or moved <= 0:
            return f"{_minutes(passed)} passed"
        return f"{_minutes(passed * (total - self._done) / moved)} left"


def _minutes(seconds: float) -> str:
    """Minutes and seconds.

    >>> _minutes(83.2)
    '1:23'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def print_table(
    rows: Sequence[Sequence[object]], columns: Sequence[str], stream: TextIO | None = None
) -> None:
    """Prints `str` of every cell under `columns`; columns of numbers stand to the right."""
    stream = stream or sys.stdout
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    right = [all(_NUMBER.fullmatch(row[i]) for row in cells) and bool(cells) for i in range(len(columns))]
    if stream.isatty():
        _draw_table(cells, columns, right, stream)
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    for line in [list(columns), ["-" * width for width in widths], *cells]:
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        print("  ".join(padded).rstrip(), file=stream)


_NUMBER = re.compile(r"[+-]?[\d.,]+([eE][+-]?\d+)?( ?[%x])?|-?|nan|n/a")


def _draw_table(
    cells: Sequence[Sequence[str]], columns: Sequence[str], right: Sequence[bool], stream: TextIO
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, to_right in zip(columns, right, strict=True):
        table.add_column(name, justify="right" if to_right else "left")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=stream).print(table)
