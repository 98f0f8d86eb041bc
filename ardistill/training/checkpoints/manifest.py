"""What a checkpoint says of itself: where training stands, and in the manifest the size and sha256 of every file.

JSON and safetensors only; nothing here is unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import attrs
import cattrs
from safetensors import safe_open

from ardistill.training.checkpoints.names import Name, named

MODULES, OPTIMISERS, STATE = "modules.safetensors", "optimisers.safetensors", "state.json"
FILES = (MODULES, OPTIMISERS, STATE)
MANIFEST = "manifest.json"
_LONGEST = 1 << 16  # bytes of a manifest; ours have a few hundred


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
        return cls({name: File.of(folder / name) for name in FILES})

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
        fits = all((folder / name).stat().st_size == manifest.files[name].size for name in FILES)
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
        if manifest is None or any(File.of(folder / name) != manifest.files[name] for name in FILES):
            return None
        for file in (MODULES, OPTIMISERS):
            with safe_open(folder / file, framework="pt"):
                pass  # its header was read
        state = cattrs.structure(json.loads((folder / STATE).read_text()), State)
        name = Name.of(folder.name)
    except PermissionError:
        raise
    except Exception:  # as above
        return None
    return state if name is not None and name.position == state.position.name else None
