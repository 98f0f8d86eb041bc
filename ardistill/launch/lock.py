"""The lock of a run folder, and the record in it: which process holds it, on which machine, since when.

The kernel's lock (flock) is what counts: it goes with the process, however that ends, and the record is for people.
On a file system that knows no such locks, a file that only one can make takes its place, and the record decides.
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import attrs
import cattrs

from ardistill.errors import RunFolderError
from ardistill.files import json_text
from ardistill.wording import shown

LOCK, OWNER = ".lock", ".lock.owner"
_UNKNOWN = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK}
"""What flock says where there is none."""
_TRIES, _PAUSE = 5, 0.05
"""Whoever only looks holds the lock for a moment."""


@attrs.frozen
class Holder:
    """A process, as its lock tells of it. `born` tells it from a later one of the same number; 0 is unknown."""

    host: str = "an unknown machine"
    pid: int = 0
    since: str = "an unknown time"
    born: int = 0

    @classmethod
    def here(cls, pid: int | None = None) -> "Holder":
        """The present process, or another one of this machine."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), pid or os.getpid(), now, _born(pid or os.getpid()))

    @classmethod
    def read(cls, text: str) -> "Holder":
        """What the record says; nothing of it is believed where it is damaged."""
        try:
            told: Holder = cattrs.structure(json.loads(text), cls)
        except Exception:  # whatever a damaged record makes its reader raise
            return cls()
        return told

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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process. Raises RunFolderError where another one does, or nothing can be written."""
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"{folder} can't be written ({error.strerror}); a run needs a folder of its own that can"
        ) from error
    with file:
        if _flocked(file):
            _write(file, json_text(attrs.asdict(Holder.here())))
            try:
                yield
            finally:
                _write(file, "")
            return
        owner = folder / OWNER
        _own(owner, folder)
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)


def _flocked(file: IO[str]) -> bool:
    """Whether the kernel's lock is ours; False where this file system has none."""
    for attempt in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < _TRIES - 1:
                time.sleep(_PAUSE)
        except OSError as error:
            if error.errno in _UNKNOWN:
                return False
            raise
        else:
            return True
    file.seek(0)
    raise _in_use(Path(file.name).parent, Holder.read(file.read()))


def _own(owner: Path, folder: Path) -> None:
    """Makes the file that only one can make; one whose process has died on this machine is put away first."""
    text = json_text(attrs.asdict(Holder.here()))
    for _ in range(2):
        try:
            with owner.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            held = Holder.read(_text(owner))
            if held.alive():
                raise _in_use(
                    folder, held, "" if held.local else f"; if it is gone, remove {owner}"
                ) from None
            owner.unlink(missing_ok=True)
        else:
            return
    raise _in_use(folder, Holder.read(_text(owner)))


def _in_use(folder: Path, holder: Holder, hint: str = "") -> RunFolderError:
    return RunFolderError(f"{folder} is in use by {holder}; wait for it, or give another out=DIR{hint}")


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def holder(folder: Path) -> Holder | None:
    """Who holds the folder now, asked without disturbing anyone for longer than a moment."""
    try:
        with (folder / LOCK).open(encoding="utf-8", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Holder.read(file.read())
            except OSError:
                held = Holder.read(_text(folder / OWNER))
                return held if held.pid and held.alive() else None
    except OSError:
        return None
    return None


def left_behind(folder: Path) -> Holder | None:
    """The process that held the folder and ended without letting go of it: killed, or its machine went down."""
    told = Holder.read(_text(folder / LOCK) or _text(folder / OWNER))
    return told if told.pid and holder(folder) is None else None
