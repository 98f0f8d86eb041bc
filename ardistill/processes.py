"""A process of some machine, told so that it is known again later."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import attrs

from ardistill.wording import shown


@attrs.frozen
class Process:
    """A process and its machine. `born` tells it from a later one of the same number; 0 is unknown."""

    host: str = "an unknown machine"
    pid: int = 0
    since: str = "an unknown time"
    born: int = 0

    @classmethod
    def here(cls, pid: int | None = None) -> "Process":
        """The present process, or another one of this machine."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), pid or os.getpid(), now, _born(pid or os.getpid()))

    @property
    def local(self) -> bool:
        return self.host == socket.gethostname()

    def alive(self) -> bool:
        """Whether it runs; of another machine's process nobody here knows, and it is taken to."""
        born = _born(self.pid) if self.pid else -1
        return not self.local or (born >= 0 and self.born in (0, born))

    def __str__(self) -> str:
        return f"process {self.pid or '?'} on {shown(self.host)[1:-1]} since {shown(self.since)[1:-1]}"


def _born(pid: int) -> int:
    """When a process began, in ticks of the machine's clock; 0 where that is not told, -1 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return -1 if Path("/proc/self/stat").exists() or not _answers(pid) else 0
    return -1 if fields[0] in ("Z", "X") else int(fields[19])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
