"""Reading weights: safetensors, or torch files without unpickling; clear about what is wrong."""

import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import safe_open
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.wording import message_of, shown


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
