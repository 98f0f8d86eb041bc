"""Tensors of a TorchScript archive, which is a program with its weights; the program is left alone.

`torch.jit.load` would run it, so OpenAI's files of CLIP are read as what they are besides: a zip file with a table of
objects (data.pkl, see `pickle_table`) and a record of bare numbers for each tensor.
"""

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.weights import Weights
from ardistill.wording import message_of
from ardistill_fidelity.pickle_table import Object, Stored, read_table

_KINDS = {
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch IntStorage": torch.int32,
    "torch LongStorage": torch.int64,
}
_LARGEST_TABLE = 64 << 20
_MOST_OBJECTS = 50_000  # CLIP has a few thousand; a file made to keep us busy can say one object very often


def is_torchscript(path: Path) -> bool:
    """Whether the file is such an archive; False where there is none, or one that is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def read_torchscript(path: Path, *prefixes: str) -> Weights:
    """The archive's tensors whose keys, as in its state_dict, begin with one of `prefixes`, on the CPU.

    Raises WeightsError for anything that is wrong with it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            table = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
            if table.file_size > _LARGEST_TABLE:
                raise ValueError(f"its table of objects has {table.file_size} bytes")
            folder = table.filename.removesuffix("data.pkl")
            tensors = {
                key: _tensor(archive, folder, stored)
                for key, stored in _tensors_of(read_table(archive.read(table)))
                if key.startswith(prefixes)
            }
    except Exception as error:  # a damaged file can make a reader raise anything
        reason = message_of(error)[:120] or type(error).__name__
        raise WeightsError(
            f"{path} can't be read as a TorchScript archive ({reason}); fetch it again"
        ) from error
    return Weights(tensors, {}, path)


def _tensors_of(module: Any) -> Iterator[tuple[str, Stored]]:
    """Every tensor below a module, by the names that lead to it, joined by dots."""
    left: list[tuple[str, Any]] = [("", module)]
    for _ in range(_MOST_OBJECTS):
        if not left:
            return
        path, value = left.pop()
        if isinstance(value, Stored):
            yield path, value
        elif isinstance(value, Object):
            before = f"{path}." if path else ""
            left += [(f"{before}{name}", part) for name, part in value.fields.items()]
    raise ValueError("its objects have no end")


def _tensor(archive: zipfile.ZipFile, folder: str, stored: Stored) -> Tensor:
    dtype = _KINDS[stored.kind]
    info = archive.getinfo(f"{folder}data/{stored.key}")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != stored.numel * dtype.itemsize:
        raise ValueError(f"its record {stored.key} is not {stored.numel} numbers")
    if math.prod(stored.shape) > stored.numel:  # whoever copied it would need memory without bounds
        raise ValueError(f"its record {stored.key} is repeated")
    numbers = torch.empty(0, dtype=dtype)
    if stored.numel:
        numbers = torch.frombuffer(bytearray(archive.read(info)), dtype=dtype)
    return numbers.as_strided(stored.shape, stored.stride, stored.offset)
