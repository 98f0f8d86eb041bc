"""Reading and writing weights: safetensors, or torch files without unpickling; strict, and clear about what is wrong.

Our own files are safetensors whose metadata key "ardistill" holds JSON: what the weights are and how to rebuild them.
"""

import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ardistill.errors import WeightsError
from ardistill.files import write_atomic
from ardistill.wording import message_of, shown

_KEYS_SHOWN = 10


@attrs.frozen(eq=False)
class Weights:
    """Tensors by key, what the file says about them, and where they come from."""

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]
    path: Path


def read_weights(path: Path) -> Weights:
    """Reads a .safetensors file, or any file of `torch.save` that holds nothing but tensors and plain containers."""
    try:
        present = path.is_file()
    except (OSError, ValueError):  # a name no file system takes
        present = False
    if not present:
        raise WeightsError(
            f"there is no weights file at {shown(str(path))}; give the path of a .safetensors or .pth file"
        )
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a pickle is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make a reader raise anything
        unsafe = isinstance(error, pickle.UnpicklingError)
        reason = "it holds more than tensors, or is damaged" if unsafe else message_of(error)[:120]
        raise WeightsError(
            f"{path} can't be read as weights ({reason}); expected safetensors, or a torch file of tensors alone"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(f"{path} holds no plain state dict; expected a file of named tensors")
    return Weights(content, {}, path)


def _read_safetensors(path: Path) -> Weights:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    about = json.loads(metadata.get("ardistill", "{}"))
    if not isinstance(about, dict):
        raise ValueError("its metadata is not an object")
    return Weights(tensors, about, path)


def write_weights(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes safetensors aside and renames them into place."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_atomic(path, save(plain, {"ardistill": json.dumps(about)}))


def _kind(tensor: Tensor) -> str:
    """Shape and sort of number: float16 weights fit a float32 network, bytes do not."""
    return f"{'float' if tensor.is_floating_point() else 'integer'} {list(tensor.shape)}"


def load_strict(module: nn.Module, weights: Weights, what: str) -> None:
    """Loads every tensor of `module` from `weights`; names what is missing, unexpected or misshapen (ten at most)."""
    wanted = {key: _kind(value) for key, value in module.state_dict().items()}
    given = {key: _kind(value) for key, value in weights.tensors.items()}
    faults = [f"{key} is missing" for key in wanted if key not in given]
    faults += [f"{key} is unexpected" for key in given if key not in wanted]
    faults += [
        f"{key} is {given[key]} instead of {kind}"
        for key, kind in wanted.items()
        if key in given and given[key] != kind
    ]
    if faults:
        more = f" and {len(faults) - _KEYS_SHOWN} more" if len(faults) > _KEYS_SHOWN else ""
        raise WeightsError(f"{weights.path} does not fit {what}: {'; '.join(faults[:_KEYS_SHOWN])}{more}")
    for key, value in weights.tensors.items():
        if value.is_floating_point() and bool(value.isnan().any()):
            raise WeightsError(f"{weights.path} holds NaN in {key}; it was damaged, or its training failed")
    module.load_state_dict(dict(weights.tensors))
