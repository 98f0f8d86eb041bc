"""What checkpoints are called, which is the newest, and which stay.

NNNNNNNNNNNN-PHASE, the images of the whole run first. Where a position is saved again, the later one is called
NNNNNNNNNNNN-PHASE@2, so that the earlier one stays until the later one is committed.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import quote

import attrs

DAMAGED = "damaged"
"""The folder beside the checkpoints for those that are not whole."""
_NAME = re.compile(r"(\d{12,})-([^@]+?)(?:@(\d+))?", re.ASCII)


@attrs.frozen(order=True)
class Name:
    """A checkpoint's name in its parts; the order is that of training."""

    images: int
    phase: str
    version: int = 1

    @property
    def position(self) -> str:
        """The name without the version."""
        return f"{self.images:012d}-{self.phase}"

    @classmethod
    def of(cls, text: str) -> "Name | None":
        parts = _NAME.fullmatch(text)
        return parts and cls(int(parts[1]), parts[2], int(parts[3] or 1))


def named(images: int, phase: str) -> str:
    """The name of a position. A phase may be called anything: what a file's name can't hold is quoted."""
    return Name(images, quote(phase, safe=" ")).position


def free(folder: Path, position: str) -> Path:
    """folder/POSITION, or a later version than any that is there."""
    found = (Name.of(path.name) for path in folder.iterdir())
    latest = max((name.version for name in found if name and name.position == position), default=0)
    return folder / (f"{position}@{latest + 1}" if latest else position)


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints of a folder, whole or not; what else lies there is passed over."""
    if not folder.is_dir():
        return []
    found = {path: Name.of(path.name) for path in folder.iterdir()}
    return [path for _, path in sorted(((name, path) for path, name in found.items() if name), reverse=True)]


def lasting(checkpoints: Iterable[Path], keep: int, permanent: int) -> Collection[Path]:
    """Of checkpoints, newest first, those that stay.

    These are the latest `keep`, and for each multiple of `permanent` images the first one at or after it (0 is none).
    That is told from those which are left: the first one between two multiples is never deleted.
    """
    positions: dict[str, Path] = {}
    for path in checkpoints:
        name = Name.of(path.name)
        if name is not None:
            positions.setdefault(name.position, path)
    stays = set(list(positions.values())[:keep])
    if permanent:
        firsts: dict[int, Path] = {}
        for path in positions.values():
            name = Name.of(path.name)
            assert name is not None
            firsts[name.images // permanent] = path
        stays |= {path for multiple, path in firsts.items() if multiple}
    return stays
