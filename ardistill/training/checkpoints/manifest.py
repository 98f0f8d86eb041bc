"""What a checkpoint says of itself: where training stands, and in the manifest the size and sha256 of every file.

JSON and safetensors only; nothing here is unpickled.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath

import attrs
import cattrs

from ardistill.training.checkpoints.names import Name, named
from ardistill.training.checkpoints.pieces import Pieces

MODULES, OPTIMISERS, STATE = "modules.safetensors", "optimisers.safetensors", "state.json"
FILES = (MODULES, OPTIMISERS, STATE)
MANIFEST = "manifest.json"
_SHARD = re.compile(r"[a-z]+-\d{5}-of-(\d{5})\.safetensors", re.ASCII)
_LONGEST = 1 << 20  # bytes of a manifest; ours have some 250 for each process that writes shards


def shard_of(file: str, rank: int, size: int) -> str:
    """What the process `rank` of `size` writes of a file: modules-00001-of-00008.safetensors."""
    path = PurePath(file)
    return f"{path.stem}-{rank + 1:05d}-of-{size:05d}{path.suffix}"


@attrs.frozen
class Position:
    """Where training stands: the phase, the images and updates it has taken, and the seconds each phase has cost."""

    phase: str
    images: int = 0
    update: int = 0
    role_updates: Mapping[str, int] = attrs.field(factory=dict)
    seconds: Mapping[str, float] = attrs.field(factory=dict)
    total_images: int = 0

    @property
    def name(self) -> str:
        return named(self.total_images, self.phase)


@attrs.frozen
class State:
    """state.json. `fingerprint` stands for the configuration."""

    position: Position
    fingerprint: str

    def text(self) -> str:
        return json.dumps(cattrs.unstructure(self), indent=1)


@attrs.frozen
class File:
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "File":
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@attrs.frozen
class Manifest:
    """manifest.json, the last file that is written."""

    files: Mapping[str, File]

    @classmethod
    def of(cls, folder: Path) -> "Manifest":
        """Of a checkpoint in one file each."""
        return cls({name: File.of(folder / name) for name in FILES})

    def parts(self, file: str) -> tuple[str, ...]:
        """The names under which a file lies there: its own, or those of its shards."""
        sizes = [int(match[1]) for name in self.files if (match := _SHARD.fullmatch(name))]
        size = max(sizes, default=0)
        return tuple(shard_of(file, rank, size) for rank in range(size)) or (file,)

    @property
    def complete(self) -> bool:
        """Whether all files of a checkpoint are named, and none besides."""
        return self.files.keys() == {STATE, *self.parts(MODULES), *self.parts(OPTIMISERS)}

    def text(self) -> str:
        return json.dumps(cattrs.unstructure(self), indent=1)


def of_right_size(folder: Path) -> Manifest | None:
    """The manifest of a checkpoint whose files are there and as long as it says, else None. No file is read whole.

    Raises PermissionError, which says nothing of the checkpoint.
    """
    try:
        path = folder / MANIFEST
        if not path.is_file() or path.stat().st_size > _LONGEST:
            return None
        text = path.read_text()
        manifest = cattrs.structure(json.loads(text), Manifest)
        fits = manifest.complete and all(
            (folder / name).stat().st_size == file.size for name, file in manifest.files.items()
        )
    except PermissionError:
        raise
    except Exception:  # whatever a damaged file makes its reader raise
        return None
    return manifest if fits and text == manifest.text() else None


def whole(folder: Path) -> State | None:
    """The state of a checkpoint whose files are what its manifest says, and whose name is its position's; else None.

    Raises PermissionError, which says nothing of the checkpoint.
    """
    manifest = of_right_size(folder)
    try:
        if manifest is None or any(File.of(folder / name) != file for name, file in manifest.files.items()):
            return None
        for file in (MODULES, OPTIMISERS):
            Pieces.of(folder / name for name in manifest.parts(file))
        state = cattrs.structure(json.loads((folder / STATE).read_text()), State)
        name = Name.of(folder.name)
    except PermissionError:
        raise
    except Exception:  # as above
        return None
    return state if name is not None and name.position == state.position.name else None


def pieces_of(folder: Path, file: str) -> Pieces:
    """What a checkpoint that is whole holds of one of its files, which may lie there in shards."""
    manifest = of_right_size(folder)
    assert manifest is not None, f"{folder} was whole before"
    return Pieces.of(folder / name for name in manifest.parts(file))
