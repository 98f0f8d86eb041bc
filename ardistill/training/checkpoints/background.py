"""One piece of work at a time beside the caller."""

from collections.abc import Callable
from threading import Thread


class Background:
    """A thread for one piece of work; the next waits for it. The interpreter does not leave before it has ended."""

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Starts `work` once the one before it has ended. Raises what that one did."""
        self.wait()
        self._thread = Thread(target=self._run, args=(work,), name="checkpoint", daemon=False)
        self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is under way. Raises, once, what the work did."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # whatever it is, `wait` raises it
            self._error = error
