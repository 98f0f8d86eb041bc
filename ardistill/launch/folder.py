"""The run folder: who owns it, where it lies, what makes a folder one.

config.toml, preparing.json, checkpoints/, student.safetensors, best.safetensors, metrics.jsonl, tensorboard/,
samples.png, report.json, report.html
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ardistill.config import RunConfig, load
from ardistill.errors import RunFolderError
from ardistill.files import write_atomic
from ardistill.plugins import Registry

CONFIG = "config.toml"
STUDENT, BEST = "student.safetensors", "best.safetensors"
REPORT, PAGE, PICTURE, METRICS = "report.json", "report.html", "samples.png", "metrics.jsonl"
_LOCK = ".lock"


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
        raise RunFolderError(f"{folder} can't be made a run folder ({reason}); give out=DIR") from error
    return folder


def existing(folder: Path, *, needs: str = CONFIG) -> Path:
    """`folder`, if it is a run folder that has got as far as `needs`."""
    if not (folder / CONFIG).is_file():
        raise RunFolderError(
            f"{folder} is not a run folder: it holds no {CONFIG}; give a folder that `run` has made"
        )
    if not (folder / needs).is_file():
        raise RunFolderError(
            f"{folder} holds no {needs} yet; finish it with: python -m ardistill run resume={folder}"
        )
    return folder


def configured(folder: Path, registry: Registry) -> RunConfig:
    """The configuration of a run that has a student. Raises RunFolderError where there is none yet."""
    existing(folder, needs=STUDENT)
    return load([], folder / CONFIG, registry=registry)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; the lock goes with the process, however it ends."""
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"{folder} is in use by another process; wait for it or give another out=DIR"
            ) from error
        yield
