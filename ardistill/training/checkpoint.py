"""Checkpoints that survive a kill at any moment: written aside, fsynced, manifest last, then renamed.

A checkpoint is a folder of safetensors and JSON: modules.safetensors (every module of the method), optimisers
.safetensors (those of the current phase), state.json (where training stands, and the sha256 of the other files).
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import attrs
import cattrs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ardistill.errors import RunFolderError
from ardistill.files import fsync_folder, write_atomic
from ardistill.training.optimise import Optimiser
from ardistill.wording import message_of

_MODULES, _OPTIMISERS, _STATE = "modules.safetensors", "optimisers.safetensors", "state.json"
_FILES = (_MODULES, _OPTIMISERS)


@attrs.frozen
class Position:
    """Where training stands: the phase, the images and updates it has taken, and the seconds each phase has cost."""

    phase: str
    images: int = 0
    update: int = 0
    role_updates: Mapping[str, int] = attrs.field(factory=dict)
    seconds: Mapping[str, float] = attrs.field(factory=dict)
    total_images: int = 0


def flatten(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """One state dict for all modules, keys prefixed by the module's name."""
    return {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def unflatten(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@attrs.frozen
class _Manifest:
    """state.json: the position, and the sha256 of everything else, the position's own words included."""

    position: Position
    fingerprint: str
    sha256: Mapping[str, str]

    def own_digest(self) -> str:
        words = json.dumps([cattrs.unstructure(self.position), self.fingerprint], sort_keys=True)
        return hashlib.sha256(words.encode()).hexdigest()


@attrs.frozen
class Checkpoints:
    """The checkpoints of a run folder; the newest `keep` stay.

    `fingerprint` stands for the configuration that made them; another one's are refused.
    """

    folder: Path
    keep: int = 2
    fingerprint: str = ""

    def save(
        self, position: Position, modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimiser]
    ) -> None:
        final = self.folder / f"{position.total_images:012d}-{position.phase}"
        aside = self.folder / f".{final.name}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        states = {
            f"{role}.{key}": value.cpu().contiguous()
            for role, optimiser in optimisers.items()
            for key, value in optimiser.state().items()
        }
        try:
            save_file(flatten(modules), aside / _MODULES)
            save_file(states, aside / _OPTIMISERS)
        except SafetensorError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise RunFolderError(
                f"a checkpoint can't be written to {self.folder} ({message_of(error)}); the ones before it are whole: "
                "make room, then run resume=DIR"
            ) from error
        hashes = {name: _digest(aside / name) for name in _FILES}
        manifest = _Manifest(position, self.fingerprint, hashes)
        hashes[_STATE] = manifest.own_digest()
        write_atomic(aside / _STATE, json.dumps(cattrs.unstructure(manifest), indent=1))
        fsync_folder(aside)
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
        fsync_folder(self.folder)
        for old in self._newest_first()[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if not path.name.startswith(".")), reverse=True)

    def latest(self) -> tuple[Path, Position] | None:
        """The newest checkpoint whose files are what its manifest says, or None where there is none at all."""
        damaged = []
        for path in self._newest_first():
            manifest = _verified(path)
            if manifest is None:
                damaged.append(path.name)
            elif manifest.fingerprint != self.fingerprint:
                raise RunFolderError(
                    f"{path} was made under another configuration; put config.toml back as it was, or start anew with "
                    "run --config"
                )
            else:
                return path, manifest.position
        if damaged:
            raise RunFolderError(
                f"every checkpoint in {self.folder} is damaged ({', '.join(damaged)}); start a new run with out=DIR"
            )
        return None


def _verified(path: Path) -> _Manifest | None:
    """The manifest of a checkpoint that is whole."""
    try:
        manifest = cattrs.structure(json.loads((path / _STATE).read_text()), _Manifest)
        found = {name: _digest(path / name) for name in _FILES} | {_STATE: manifest.own_digest()}
    except Exception:  # whatever a damaged file makes its reader raise
        return None
    return manifest if found == dict(manifest.sha256) else None


def restore(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Loads every module of the method from a checkpoint, strictly."""
    tensors = load_file(path / _MODULES)
    for name, module in modules.items():
        module.load_state_dict(unflatten(tensors, name))


def restore_optimisers(path: Path, position: Position, optimisers: Mapping[str, Optimiser]) -> None:
    tensors = load_file(path / _OPTIMISERS)
    for role, optimiser in optimisers.items():
        optimiser.load(unflatten(tensors, role), position.role_updates.get(role, 0))
