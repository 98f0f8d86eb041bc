"""Where pairs lie: a folder of shards, each one file of tokens and labels with its own checksum, and the manifest.

Legend: r pairs of a shard, L tokens.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from ardistill.errors import DataError, WeightsError
from ardistill.files import json_text, write_atomic
from ardistill.trajectories.origin import Origin
from ardistill.weights import read_weights, write_weights

FORMAT = 1
MANIFEST = "pairs.json"
_KIND = "pairs"
_MOST_CODES_16 = 1 << 16


@attrs.frozen(eq=False)
class Rows:
    """The leading pairs of a shard: tokens (r, L) uint16, or int32 above 65536 codes, and labels (r,) int32."""

    tokens_rL: NDArray[Any]
    labels_r: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels_r)

    def then(self, tokens_rL: NDArray[Any], labels_r: NDArray[Any]) -> "Rows":
        """With more pairs behind them, in the same dtypes."""
        return Rows(
            np.concatenate([self.tokens_rL, tokens_rL.astype(self.tokens_rL.dtype)]),
            np.concatenate([self.labels_r, labels_r.astype(self.labels_r.dtype)]),
        )


class DamagedError(Exception):
    """A shard is there and is not what it was written as; the message names the file."""


@attrs.frozen
class Shelf:
    """A folder of pairs of one origin, `size` pairs a shard; pair i is row i % size of shard i // size."""

    folder: Path
    origin: Origin
    size: int = attrs.field(validator=attrs.validators.ge(1))

    @classmethod
    def there(cls, folder: Path) -> "Shelf | None":
        """What the folder's manifest says, None without one. Raises DataError where it can't be read."""
        path = folder / MANIFEST
        try:
            told = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(_unreadable(path, error)) from error
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise DataError(
                f"{path} is not of the format {FORMAT} that this version reads; give a folder that `collect` filled"
            )
        try:
            return cls(folder, Origin.read(told["origin"]), int(told["shard"]))
        except Exception as error:  # cattrs raises groups of what went wrong
            raise DataError(_unreadable(path, error)) from error

    def write_manifest(self) -> None:
        told = {"format": FORMAT, "origin": attrs.asdict(self.origin), "shard": self.size}
        write_atomic(self.folder / MANIFEST, json_text(told))

    def path(self, number: int) -> Path:
        return self.folder / f"pairs-{number:06d}.safetensors"

    def lock(self, number: int) -> Path:
        """The file whose lock is the claim on a shard."""
        return self.folder / f".{self.path(number).name}.lock"

    def sweep(self, name: str) -> None:
        """Removes what a killed process had begun to write of the file `name`; for whoever holds the claim on it."""
        for left in self.folder.glob(f".{name}.*.tmp"):
            left.unlink(missing_ok=True)

    def none(self) -> Rows:
        """No pairs, in the dtypes of this folder's."""
        dtype = np.uint16 if self.origin.n_codes <= _MOST_CODES_16 else np.int32
        return Rows(np.empty((0, sum(self.origin.steps)), dtype), np.empty(0, np.int32))

    def read(self, number: int) -> Rows:
        """The shard's pairs, verified; none where there is no file. Raises DamagedError."""
        path = self.path(number)
        if not path.exists():
            return self.none()
        try:
            file = read_weights(path)
            tokens_rL, labels_r = (file.tensors[name].numpy() for name in ("tokens", "labels"))
        except (WeightsError, KeyError) as error:
            raise DamagedError(f"{path} is damaged or cut short") from error
        rows = Rows(tokens_rL.copy(), labels_r.copy())  # the file's own lie in its mapped pages
        if not self._fits(rows) or dict(file.about) != self._about(number, rows):
            raise DamagedError(f"{path} is damaged, or of another folder: its checksum is not its content's")
        return rows

    def write(self, number: int, rows: Rows) -> None:
        """The shard, whole or not at all."""
        tensors = {"tokens": torch.from_numpy(rows.tokens_rL), "labels": torch.from_numpy(rows.labels_r)}
        write_weights(self.path(number), tensors, self._about(number, rows))

    def _about(self, number: int, rows: Rows) -> Mapping[str, Any]:
        """What the file's header says. The checksum covers the place and the origin as well as the content."""
        told = {
            "kind": _KIND,
            "first": number * self.size,
            "count": len(rows),
            "origin": self.origin.digest(),
        }
        digest = hashlib.sha256(json.dumps(told).encode())
        digest.update(rows.tokens_rL.data)
        digest.update(rows.labels_r.data)
        return {**told, "sha256": digest.hexdigest()}

    def _fits(self, rows: Rows) -> bool:
        empty = self.none()
        return (
            rows.labels_r.ndim == 1
            and len(rows) <= self.size
            and rows.tokens_rL.shape == (len(rows), *empty.tokens_rL.shape[1:])
            and rows.tokens_rL.dtype == empty.tokens_rL.dtype
            and rows.labels_r.dtype == empty.labels_r.dtype
        )


def _unreadable(path: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or "it is damaged, or no file of ardistill's"
    return f"{path} can't be read ({reason}); put it back, or collect anew into another folder"
