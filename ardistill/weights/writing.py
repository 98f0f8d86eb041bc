"""Writing weights as safetensors whose metadata says what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ardistill.files import write_atomic


def write_weights(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes safetensors aside and renames them into place."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_atomic(path, save(plain, {"ardistill": json.dumps(about)}))
