"""Signals that ask a run to stop: while training they are noted, and the loop leaves at the next step's end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_ASKED_BY = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)

_Handler = Callable[[int, FrameType | None], Any] | int | None


class Signals:
    """Notes SIGTERM, SIGINT and SIGUSR2 inside `with`; a second Ctrl-C there raises KeyboardInterrupt at once.

    In a thread beside the main one, where Python allows no handlers, nothing is noted and signals act as before.
    """

    def __init__(self) -> None:
        self.caught = 0
        """The first signal's number; 0 while none came."""
        self._before: dict[int, _Handler] = {}
        self._ctrl_c = 0

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Signals act as they did before, for work that is not training and may be broken off."""
        listening = bool(self._before)
        self._leave()
        try:
            yield
        finally:
            if listening:
                self._listen()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _ASKED_BY}

    def _leave(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None stands for a handler that was not installed from Python, and can't be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._ctrl_c += 1
            if self._ctrl_c > 1:
                raise KeyboardInterrupt
        self.caught = self.caught or number


def ignore() -> None:
    """From here on a process that is about to leave is not hurried, which would cost its exit code."""
    if threading.current_thread() is threading.main_thread():
        for number in _ASKED_BY:
            signal.signal(number, signal.SIG_IGN)


def name_of(number: int) -> str:
    """The signal's name, as in SIGTERM."""
    return signal.Signals(number).name
