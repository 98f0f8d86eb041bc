"""Where tables are printed: a terminal as wide as it is, bare text of a given width elsewhere. Free of torch."""

import sys
from typing import TextIO

from rich.console import Console


def console(file: TextIO | None, width: int) -> Console:
    """On `file` (standard output); `width` is for what is no terminal."""
    made = Console(file=file or sys.stdout, highlight=False)
    return made if made.is_terminal else Console(file=made.file, highlight=False, width=width, no_color=True)
