"""Any weights file as one safetensors file that says where it comes from."""

import hashlib
from pathlib import Path
from typing import Any

import attrs

from ardistill.errors import WeightsError
from ardistill.weights.hub import address_of, is_remote
from ardistill.weights.reading import Weights, read_weights
from ardistill.weights.wrapping import Prefer
from ardistill.weights.writing import write_weights


@attrs.frozen
class Converted:
    """What was written: how many tensors, the file's bytes, and the keys under which the source kept them."""

    n_tensors: int
    n_bytes: int
    wrapping: tuple[str, ...]


def convert(source: Path | str, target: Path, *, prefer: Prefer = "ema") -> Converted:
    """Writes the weights of `source` to `target`, dtypes kept.

    A file that describes itself keeps its words; others get {"source": {"file", "sha256", "wrapping"}}. Raises
    WeightsError for a file without tensors, too.
    """
    weights = read_weights(source, prefer=prefer)
    if not weights.tensors:
        raise WeightsError(
            f"{weights.where} holds no tensors, so there is nothing to convert; give another file"
        )
    write_weights(target, weights.tensors, weights.about or {"source": _origin(source, weights)})
    return Converted(len(weights.tensors), target.stat().st_size, weights.wrapping)


def _origin(source: Path | str, weights: Weights) -> dict[str, Any]:
    with weights.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = str(address_of(source)) if is_remote(source) else weights.path.name
    return {"file": name, "sha256": digest, "wrapping": list(weights.wrapping)}
