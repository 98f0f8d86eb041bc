"""The lock of a run folder, and the record in it: which process holds it, on which machine, since when.

The kernel's lock (flock) is what counts: it goes with the process, however that ends, and the record is for people.
On a file system that knows no such locks, a file that only one can make takes its place, and the record decides.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import attrs
import cattrs

from ardistill.errors import RunFolderError
from ardistill.files import json_text
from ardistill.processes import Process

LOCK, OWNER = ".lock", ".lock.owner"
_UNKNOWN = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK}
"""What flock says where there is none."""
_TRIES, _PAUSE = 5, 0.05
"""Whoever only looks holds the lock for a moment."""


def _read(text: str) -> Process:
    """The process that a record tells of; nothing of it is believed where it is damaged."""
    try:
        told: Process = cattrs.structure(json.loads(text), Process)
    except Exception:  # whatever a damaged record makes its reader raise
        return Process()
    return told


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
            _write(file, json_text(attrs.asdict(Process.here())))
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
    raise _in_use(Path(file.name).parent, _read(file.read()))


def _own(owner: Path, folder: Path) -> None:
    """Makes the file that only one can make; one whose process has died on this machine is put away first."""
    text = json_text(attrs.asdict(Process.here()))
    for _ in range(2):
        try:
            with owner.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            held = _read(_text(owner))
            if held.alive():
                raise _in_use(
                    folder, held, "" if held.local else f"; if it is gone, remove {owner}"
                ) from None
            owner.unlink(missing_ok=True)
        else:
            return
    raise _in_use(folder, _read(_text(owner)))


def _in_use(folder: Path, holder: Process, hint: str = "") -> RunFolderError:
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


def holder(folder: Path) -> Process | None:
    """Who holds the folder now, asked without disturbing anyone for longer than a moment."""
    try:
        with (folder / LOCK).open(encoding="utf-8", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(file.read())
            except OSError:
                held = _read(_text(folder / OWNER))
                return held if held.pid and held.alive() else None
    except OSError:
        return None
    return None


def left_behind(folder: Path) -> Process | None:
    """The process that held the folder and ended without letting go of it: killed, or its machine went down."""
    told = _read(_text(folder / LOCK) or _text(folder / OWNER))
    return told if told.pid and holder(folder) is None else None
