"""How long the command line takes to say something: `--help` and `plugins`, in wall seconds.

    python benchmarks/startup.py
    python benchmarks/startup.py repeats=11 limit=0.5

Each is started `repeats` times, in turns; the median is told, with the fastest and the slowest. It fails where a
median is beyond `limit` seconds, unless other work keeps the machine's cores busy: then it only prints.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import attrs
from attrs.validators import ge, gt

from ardistill.cli.terminal import print_table
from ardistill.config import structure_words
from ardistill.errors import ArdistillError

COMMANDS = ("--help", "plugins", "run --help")
BUSY = 0.5
"""Of the cores, in processes that want to run: beyond it wall time says little."""


@attrs.frozen
class Startup:
    repeats: int = attrs.field(default=5, validator=ge(1))
    limit: float = attrs.field(default=0.5, validator=gt(0))
    """Seconds."""


def load() -> float:
    """Processes that wanted to run in the last minute, a core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def measured(commands: Sequence[str], repeats: int) -> Mapping[str, list[float]]:
    """Seconds of every start, after one that fills the caches."""
    found: dict[str, list[float]] = {command: [] for command in commands}
    for turn in range(repeats + 1):
        for command, seconds in found.items():
            began = time.perf_counter()
            words = [sys.executable, "-m", "ardistill", *command.split()]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            if turn:
                seconds.append(time.perf_counter() - began)
    return found


def main(words: Sequence[str]) -> int:
    try:
        given = structure_words(list(words), Startup)
    except ArdistillError as error:
        print(f"startup: {error}", file=sys.stderr)
        return error.exit_code
    before = load()
    found = measured(COMMANDS, given.repeats)
    rows = [
        (f"python -m ardistill {command}", *(f"{each:.3f}" for each in _spread(seconds)))
        for command, seconds in found.items()
    ]
    print_table(rows, ("command", "median s", "fastest", "slowest"))
    late = [command for command, seconds in found.items() if statistics.median(seconds) > given.limit]
    if not late:
        return 0
    if before > BUSY:
        print(f"beyond {given.limit:g} s, on a machine with {before:.1f} processes a core: not judged")
        return 0
    print(f"{', '.join(late)}: beyond {given.limit:g} s", file=sys.stderr)
    return 1


def _spread(seconds: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(seconds), min(seconds), max(seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
