"""Telling how far the reading and writing of a large file is, to whoever asked for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ardistill.protocols import Progress

QUIET_BYTES = 256 << 20
"""Nothing is told about files up to this size."""
_MIB = 1 << 20

_reporter: ContextVar[Progress | None] = ContextVar("reporter", default=None)


@contextmanager
def reporting(progress: Progress) -> Iterator[None]:
    """Within, `load_strict` and `write_weights` tell `progress` how far they are with a large file, in MiB."""
    token = _reporter.set(progress)
    try:
        yield
    finally:
        _reporter.reset(token)


class Meter:
    """Counts the bytes of one file; `what` is told with them, e.g. "loading var_d30.pth"."""

    def __init__(self, total: int, what: str) -> None:
        self._reporter = _reporter.get() if total > QUIET_BYTES else None
        self._total, self._what, self._done = total, what, 0

    def add(self, n_bytes: int) -> None:
        self._done += n_bytes
        if self._reporter is not None:
            self._reporter.advance(self._done // _MIB, self._total // _MIB, f"{self._what}, MiB")
