"""Writing files so that a reader meets the old content or the new, never a part of either."""

import json
import os
from pathlib import Path
from typing import Any


def fsync_folder(folder: Path) -> None:
    """Makes the folder's entries (creations, renames) durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes `content` aside, fsyncs it, and renames it to `path`."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which file it has no room for
        raise
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def json_text(value: Any) -> str:
    """Indented JSON; nan and inf are refused, since other readers do not know them."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
