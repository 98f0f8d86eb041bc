"""FILE.part: what has come of a file so far, locked by the process that fetches it, so that a later one goes on.

FILE.part.json beside it says which version of which address it is a part of.
"""

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ardistill.errors import WeightsError
from ardistill.files import fsync_folder, json_text, write_atomic

_CHUNK = 1 << 20


class Part:
    """The bytes so far and their digest; opened by `part_of`, which holds the lock."""

    def __init__(self, target: Path, file: io.FileIO) -> None:
        self.target = target
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self.validator: str | None = None
        """What the server calls this version of the file: a strong ETag or a date. None: it can't be gone on with."""
        self._url = ""
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the bytes so far."""
        return self._digest.hexdigest()

    def resume(self, url: str) -> None:
        """Takes up what another process left of this address, where it is known what that was."""
        self._url, self.validator = _noted(self._note)
        if not self.size or self._url != url or self.validator is None:
            self.restart()
            return
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._digest.update(chunk)

    def restart(self) -> None:
        """Forgets what there is."""
        self._file.seek(0)
        self._file.truncate()
        self.size, self.validator, self._digest = 0, None, hashlib.sha256()

    def begin(self, url: str, validator: str | None) -> None:
        """Notes which version the bytes to come are of."""
        if (url, validator) != (self._url, self.validator):
            self._url, self.validator = url, validator
            with self._writing():
                write_atomic(self._note, json_text({"url": url, "validator": validator}))

    def write(self, content: bytes) -> None:
        """Raises WeightsError where the disk takes no more; what it took is kept."""
        rest = memoryview(content)
        while rest:
            with self._writing():
                taken = self._file.write(rest) or 0
            self._digest.update(rest[:taken])
            self.size += taken
            rest = rest[taken:]

    def finish(self) -> None:
        """Makes it the whole file."""
        os.fsync(self._file.fileno())
        self.path.replace(self.target)
        self._note.unlink(missing_ok=True)
        fsync_folder(self.target.parent)

    def discard(self) -> None:
        """Removes it. The lock is held until then, so that nobody else's part goes."""
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WeightsError(
                f"{self.path} can't be written on ({error.strerror}) after {self.size} bytes, which are kept; make "
                "room, or give another folder with out=DIR"
            ) from error

    @property
    def path(self) -> Path:
        return _path(self.target)

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


@contextmanager
def part_of(target: Path, waiting: Callable[[], None]) -> Iterator[Part]:
    """`target`'s part, ours until the block ends; `waiting` is called where another process has it.

    An empty part goes with the block. Raises WeightsError where the folder can't be written to.
    """
    try:
        file = _locked(_path(target), waiting)
    except OSError as error:
        raise WeightsError(
            f"{target.parent} can't be written to ({error.strerror}); give another folder with out=DIR"
        ) from error
    with file:
        part = Part(target, file)
        try:
            yield part
        finally:
            if not part.size and _is_at(part.path, file):
                part.discard()


def _locked(path: Path, waiting: Callable[[], None]) -> io.FileIO:
    while True:
        file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # who had it finished, and made it the whole file, between our opening and our locking


def _is_at(path: Path, file: io.FileIO) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


def _path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _noted(note: Path) -> tuple[str, str | None]:
    """Address and validator; nothing where the note is missing or is none of ours."""
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        return str(told["url"]), None if told["validator"] is None else str(told["validator"])
    except (OSError, ValueError, LookupError, TypeError):
        return "", None
