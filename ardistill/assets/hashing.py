"""Whether a file is what it should be: its sha256 against the catalogue's, or the one recorded at its first fetch.

A record lies beside its file as FILE.sha256, in the form of `sha256sum`, so that `sha256sum -c FILE.sha256` reads it.
"""

import hashlib
import re
from pathlib import Path

from ardistill.assets.catalogue import Asset
from ardistill.errors import WeightsError
from ardistill.files import write_atomic

SHOWN_DIGITS = 8
"""Of a hash in a message; torch's file names hold as many."""

_RECORD = re.compile(r"([0-9a-f]{64})(\s.*)?", re.DOTALL)
_known: dict[tuple[str, int, int], str] = {}


def sha256_of(path: Path) -> str:
    """In hexadecimal digits. Files that have not changed since this process asked last are not read again."""
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _known:
        with path.open("rb") as file:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[key]


def record_of(path: Path) -> Path:
    """Where the hash of a file that has no published one is recorded."""
    return path.with_name(f"{path.name}.sha256")


def write_record(path: Path, sha256: str) -> None:
    """Keeps `sha256` as what the file at `path` shall have from now on."""
    write_atomic(record_of(path), f"{sha256}  {path.name}\n")


def expected_sha256(wanted: Asset, path: Path) -> str | None:
    """What the file at `path` must have: the catalogue's, else the recorded one, else None: nothing is known."""
    if wanted.sha256 is not None:
        return wanted.sha256
    record = record_of(path)
    if not record.is_file():
        return None
    found = _RECORD.fullmatch(record.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise WeightsError(f"{record} holds no sha256; remove it, and fetch {wanted.name} again")
    return found[1]


def source_of(wanted: Asset) -> str:
    """The end of `where X ...`: how the expected hash is known."""
    if wanted.sha256 is None:
        return "was recorded when it was first fetched"
    return "is published" if wanted.sha256_by == "publisher" else "is on public record"


def check(wanted: Asset, path: Path, option: str) -> None:
    """Raises WeightsError where the file is not what it should be; `option` is how to give another."""
    expected = expected_sha256(wanted, path)
    if expected is None or expected == (found := sha256_of(path)):
        return
    raise WeightsError(
        f"{path} is not {wanted.name}: its sha256 begins with {found[:SHOWN_DIGITS]} where {expected[:SHOWN_DIGITS]} "
        f"{source_of(wanted)}; fetch it again (python -m ardistill fetch {wanted.name}), or give {option}"
    )
