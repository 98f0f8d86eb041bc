"""What the package's logger is told: `with logged("damaged") as told`."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logged(match: str = "") -> Iterator[list[str]]:
    """The warnings of the logger "ardistill" within the block; one of them at least has to match."""
    told: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, handler = logging.getLogger("ardistill"), Handler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
    assert any(re.search(match, text) for text in told), (match, told)
