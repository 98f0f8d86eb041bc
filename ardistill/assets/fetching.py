"""One asset into a folder: nothing where it is there already, else downloaded, compared, and put in place."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ardistill.assets.catalogue import Asset
from ardistill.assets.downloading import download
from ardistill.assets.hashing import (
    SHOWN_DIGITS,
    expected_sha256,
    record_of,
    sha256_of,
    source_of,
    write_record,
)
from ardistill.assets.partial import Part, part_of
from ardistill.errors import WeightsError

if TYPE_CHECKING:
    from ardistill.protocols import Progress  # which imports torch


@attrs.frozen
class Fetched:
    """A file that is whole, and whether it was before."""

    path: Path
    sha256: str
    was_there: bool


def fetch(
    wanted: Asset, folder: Path, progress: "Progress", *, url: str | None = None, waiting: Callable[[], None]
) -> Fetched:
    """Fetches into `folder`, which must exist, from `url` instead of its publisher where one is given.

    `waiting` is called where another process fetches the same file; its file is then taken. Raises WeightsError.
    """
    target = folder / wanted.file
    if is_whole(wanted, target):
        return _present(wanted, target)
    if target.is_dir():
        raise WeightsError(f"{target} is a folder where {wanted.name} should be; remove it, or give out=DIR")
    with part_of(target, waiting) as part:
        if is_whole(wanted, target):  # another process fetched it meanwhile
            part.discard()
            return _present(wanted, target)
        download(url or wanted.url, part, wanted.size, progress)
        found = part.sha256
        _compare(wanted, part, url or wanted.url)
        if wanted.sha256 is None:
            write_record(target, found)
        part.finish()
    return Fetched(target, found, was_there=False)


def is_whole(wanted: Asset, path: Path) -> bool:
    """Whether the file is there, and is what it should be as far as that is known."""
    return path.is_file() and expected_sha256(wanted, path) in (None, sha256_of(path))


def _present(wanted: Asset, path: Path) -> Fetched:
    found = sha256_of(path)
    if wanted.sha256 is None and not record_of(path).is_file():
        write_record(path, found)
    return Fetched(path, found, was_there=True)


def _compare(wanted: Asset, part: Part, url: str) -> None:
    expected, found = expected_sha256(wanted, part.target), part.sha256
    if expected in (None, found):
        return
    part.discard()
    known = "" if wanted.sha256 else f"; if its publisher changed it, remove {record_of(part.target)}"
    raise WeightsError(
        f"what {url} has is not {wanted.name}: its sha256 begins with {found[:SHOWN_DIGITS]} where "
        f"{str(expected)[:SHOWN_DIGITS]} {source_of(wanted)}; it was removed; fetch it again, or from elsewhere with "
        f"from=URL{known}"
    )
