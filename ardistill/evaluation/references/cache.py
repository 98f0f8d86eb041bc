"""Features of a set of images, kept in a file under the hash of all that they depend on.

Shape legend: N images, F features.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.weights import read_weights, write_weights
from ardistill.wording import message_of

KIND = "reference-features"
_LOG = logging.getLogger("ardistill")


@attrs.frozen(eq=False)
class Seen:
    """What a network saw in a set of images: features (N, F) float32, and "name: why" of the images passed over."""

    features_NF: Tensor
    skipped: tuple[str, ...]


def key_of(parts: Mapping[str, Any]) -> str:
    """64 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digest(seen: Seen) -> str:
    digest = hashlib.sha256(json.dumps(seen.skipped).encode())
    digest.update(seen.features_NF.contiguous().numpy().data)
    return digest.hexdigest()


@attrs.frozen
class FeatureCache:
    """Files `references/KEY.safetensors` in a folder; without a folder nothing is kept."""

    folder: Path | None

    def _path(self, folder: Path, key: str) -> Path:
        return folder / "references" / f"{key}.safetensors"

    def load(self, key: str, n_features: int) -> Seen | None:
        """What was kept, None where nothing was; a file that is not as it was written is as good as none."""
        if self.folder is None or not (path := self._path(self.folder, key)).exists():
            return None
        try:
            file = read_weights(path)
            seen = Seen(file.tensors["features_NF"].clone(), tuple(file.about["skipped"]))
            fits = seen.features_NF.dtype == torch.float32 and seen.features_NF.shape[1:] == (n_features,)
            if (file.about.get("kind"), file.about.get("key")) != (KIND, key) or not fits:
                raise WeightsError("it holds something else")
            if file.about["sha256"] != _digest(seen):
                raise WeightsError("its numbers have changed")
        except (WeightsError, KeyError, TypeError):
            _LOG.warning("%s is damaged and is made again", path)
            return None
        return seen

    def save(self, key: str, seen: Seen) -> None:
        """Keeps it; where the folder can't be written to, a warning says so."""
        if self.folder is None:
            return
        path = self._path(self.folder, key)
        about = {"kind": KIND, "key": key, "skipped": list(seen.skipped), "sha256": _digest(seen)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_weights(path, {"features_NF": seen.features_NF}, about)
        except OSError as error:
            _LOG.warning("the features of the reference can't be kept at %s (%s)", path, message_of(error))
