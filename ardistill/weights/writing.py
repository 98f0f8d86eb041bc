"""Writing weights as safetensors whose metadata says what they are.

The format: the header's length (8 bytes, little-endian), the header as JSON, the tensors without gaps. It is written
here rather than by safetensors' own `save_file`, which refuses tensors that share memory, wants them all on the CPU at
once and, before 0.8, copies them all. A test holds the two to the same bytes.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.files import fsync_folder
from ardistill.weights.naming import named
from ardistill.weights.progress import Meter
from ardistill.wording import shown

_DTYPES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ORDER = {dtype: place for place, dtype in enumerate(_DTYPES)}  # wide numbers first, so that all lie aligned
_ALIGNMENT = 8
_METADATA = "__metadata__"


def write_weights(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes safetensors aside, fsyncs them, and renames them to `path`; one tensor is copied at a time.

    Raises WeightsError for numbers that safetensors do not have, such as complex ones, and for keys.
    """
    header = _header(path, tensors, {"ardistill": json.dumps(about)})
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            _write_tensors(file, tensors, Meter(_n_bytes(tensors), f"writing {path.name}"))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def _header(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    entries: dict[str, Any] = {_METADATA: metadata}
    begin = 0
    for key, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise WeightsError(
                f"{path} can't hold {named(key)}, whose dtype {tensor.dtype} is none of safetensors'"
            )
        if fault := _fault_of(key):
            raise WeightsError(f"{path} can't hold the key {shown(key)}, {fault}; rename it in the source")
    for key in _in_order(tensors):
        end = begin + tensors[key].nbytes
        entries[key] = {
            "dtype": _DTYPES[tensors[key].dtype],
            "shape": list(tensors[key].shape),
            "data_offsets": [begin, end],
        }
        begin = end
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    return header + b" " * (-len(header) % _ALIGNMENT)


def _fault_of(key: str) -> str:
    if key == _METADATA:
        return "which safetensors keep for what is said of the file"
    try:
        key.encode()
    except UnicodeEncodeError:
        return "which is not UTF-8"
    return ""


def _write_tensors(file: IO[bytes], tensors: Mapping[str, Tensor], meter: Meter) -> None:
    for key in _in_order(tensors):
        plain = tensors[key].detach().cpu().contiguous()
        file.write(plain.flatten().view(torch.uint8).numpy().data)
        meter.add(plain.nbytes)


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    return sorted(tensors, key=lambda key: (_ORDER[tensors[key].dtype], key.encode()))


def _n_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
