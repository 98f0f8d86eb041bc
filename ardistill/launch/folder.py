"""The run folder: who owns it, where it lies, what makes a folder one.

config.toml, preparing.json, checkpoints/, student.safetensors, best.safetensors, metrics.jsonl, tensorboard/,
samples.png, report.json, report.html
"""

import hashlib
import re
from pathlib import Path

from ardistill.config import RunConfig, load
from ardistill.config.launching import HERE
from ardistill.errors import RunFolderError
from ardistill.files import write_atomic
from ardistill.launch.lock import locked
from ardistill.plugins import Registry
from ardistill.wording import shown

__all__ = ["configured", "create", "existing", "free_folder", "locked", "safe_name"]

CONFIG = "config.toml"
STUDENT, BEST = "student.safetensors", "best.safetensors"
REPORT, PAGE, PICTURE, METRICS = "report.json", "report.html", "samples.png", "metrics.jsonl"
CHECKPOINTS = "checkpoints"
_LONGEST_NAME = 100


def safe_name(text: str) -> str:
    """A folder's name made of `text`: nothing in it steers a shell or a path, and it is no longer than may be.

    >>> safe_name("../../onestep*-var")
    'onestep-var'
    """
    plain = re.sub(r"[^\w.+-]", "", re.sub(r"[/:\\\s]+", "-", text), flags=re.ASCII).strip("-.") or "run"
    if len(plain) <= _LONGEST_NAME:
        return plain
    return f"{plain[: _LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def free_folder(base: Path, name: str) -> Path:
    """base/name-001, or the first number nobody has taken."""
    number = 1
    while (base / f"{name}-{number:03d}").exists():
        number += 1
    return base / f"{name}-{number:03d}"


def create(folder: Path, config_toml: str) -> Path:
    """A new run folder with its configuration; refuses one that already holds something."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            hint = f", or go on with resume={folder}" if (folder / CONFIG).is_file() else ""
            raise RunFolderError(f"{folder} exists and is not empty; give another out=DIR{hint}")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / CONFIG, config_toml)
    except (OSError, ValueError) as error:
        if isinstance(error, RunFolderError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise RunFolderError(
            f"{_told(folder)} can't be made a run folder ({reason}); give out=DIR"
        ) from error
    return folder


def _told(folder: Path) -> str:
    """The path as it is, or cut where it is longer than any should be."""
    return str(folder) if len(str(folder)) < 200 and str(folder).isprintable() else shown(str(folder))


def existing(folder: Path, *, needs: str = CONFIG) -> Path:
    """`folder`, if it is a run folder that has got as far as `needs`."""
    try:
        is_run, is_far = (folder / CONFIG).is_file(), (folder / needs).is_file()
    except OSError as error:
        raise RunFolderError(
            f"{_told(folder)} can't be a run folder ({error.strerror}); give a folder that `run` has made"
        ) from error
    if not is_run:
        raise RunFolderError(
            f"{_told(folder)} is not a run folder: it holds no {CONFIG}; give a folder that `run` has made"
        )
    if not is_far:
        raise RunFolderError(
            f"{folder} holds no {needs} yet; finish it with: python -m ardistill run resume={folder}"
        )
    return folder


def configured(folder: Path, registry: Registry) -> RunConfig:
    """The configuration of a run that has a student, but for its launcher, which need not be installed here.

    Raises RunFolderError where there is none yet.
    """
    existing(folder, needs=STUDENT)
    return load([f"launcher={HERE}"], folder / CONFIG, registry=registry)
