"""Tensors and NumPy arrays of a file of `torch.save`, read without running anything the file holds.

`torch.load(weights_only=True)` knows no NumPy arrays, and letting it call NumPy's own constructors would hand them
arguments that the file chooses. Stand-ins take their place: they keep what the pickle says of an array, and the array
is made here, of plain floats alone.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ardistill.errors import DataError
from ardistill.evaluation.references.npz import check_sums
from ardistill.wording import message_of, shown

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
_FLOATS = {"f2": np.float16, "f4": np.float32, "f8": np.float64}


class _Dtype:
    """What a pickle says of a dtype: its code, e.g. "f8", and the order of its bytes."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code = code
        self.order: object = "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1:
            self.order = state[1]

    def dtype(self) -> "np.dtype[Any]":
        if self.code not in _FLOATS:
            raise DataError(f"it holds an array of type {shown(self.code)}, and floats are expected")
        made = np.dtype(_FLOATS[str(self.code)])
        return made.newbyteorder(">") if self.order == ">" else made


class _Array:
    """What a pickle says of an array."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def tensor(self) -> Tensor:
        match self.state:
            case (int(), tuple() as shape, _Dtype() as kind, bool() as by_column, bytes() as data):
                dtype = kind.dtype()
                sound = all(isinstance(side, int) and side >= 0 for side in shape)
                if sound and prod(shape) * dtype.itemsize == len(data):
                    flat = np.frombuffer(data, dtype).astype(np.float64)
                    return torch.from_numpy(flat.reshape(shape, order="F" if by_column else "C").copy())
            case (int(), tuple(), _Dtype() as kind, *_):
                kind.dtype()  # which refuses what is no float
        raise DataError("it holds an array that can't be made; write the file again")


def _array(*_: object) -> _Array:
    return _Array()


def _stand_ins() -> list[Any]:
    cores = ("numpy.core", "numpy._core")  # before and since NumPy 2
    return [
        (_Array, "numpy.ndarray"),
        (_Dtype, "numpy.dtype"),
        *((_array, f"{core}.multiarray._reconstruct") for core in cores),
    ]


def read_torch_arrays(path: Path) -> object:
    """A tensor, or the list, tuple or dict the file holds, with its arrays as tensors."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_sums(archive)
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals(_stand_ins()),
            path.open("rb") as file,
        ):
            warnings.simplefilter("ignore")  # what is wrong with a file is said by the error
            read = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = _REFUSED.search(str(error))
        what = f", {shown(refused[1])}, and making that could run anything" if refused else ", or is damaged"
        raise DataError(f"it holds more than arrays{what}; save mu and sigma alone") from error
    except Exception as error:  # a damaged file can make a reader raise anything
        reason = message_of(error)[:120] or type(error).__name__
        raise DataError(f"it is damaged or cut short ({reason}); fetch it again") from error
    return _with_tensors(read)


def _with_tensors(value: object) -> object:
    match value:
        case _Array():
            return value.tensor()
        case Mapping():
            return {key: _with_tensors(item) for key, item in value.items()}
        case list() | tuple():
            return [_with_tensors(item) for item in value]
        case _:
            return value
