"""Arrays of an .npz file, read a part at a time: a file of images can be larger than memory.

Objects are refused, never unpickled. Messages are the ends of sentences that begin with the path.
"""

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import attrs
import numpy as np
from numpy.lib import format as npy

from ardistill.errors import DataError
from ardistill.wording import message_of, shown

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # an encrypted archive
)
_CHUNK = 1 << 20


@contextmanager
def telling_damage() -> Iterator[None]:
    """Whatever a damaged archive makes the readers raise becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(
            f"it is damaged or cut short ({message_of(error)[:120] or type(error).__name__}); fetch it again"
        ) from error


def check_sums(archive: zipfile.ZipFile) -> None:
    """Compares every member with its checksum; 0 stands for none, as torch may be told to write."""
    for info in archive.infolist():
        if info.CRC:
            with archive.open(info) as member:
                while member.read(_CHUNK):
                    pass


@attrs.frozen
class Array:
    """An array in the archive, of which only the header has been read."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_column: bool


@attrs.frozen(eq=False)
class Npz:
    """The arrays of one file by name; those that hold objects are refused once they are asked for."""

    path: Path
    arrays: Mapping[str, Array]

    @classmethod
    def open(cls, path: Path) -> "Npz":
        with telling_damage(), zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            arrays = {}
            for name in names:
                with archive.open(f"{name}.npy") as file:
                    arrays[name] = _header(file, name)
        return cls(path, arrays)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def read(self, name: str) -> "np.ndarray[Any, Any]":
        """The whole array, whichever way it is stored."""
        array = self.arrays[name]
        (whole,) = self._parts(array, [prod(array.shape)])
        return whole.reshape(array.shape, order="F" if array.by_column else "C")

    def rows(self, name: str, count: int) -> Iterator["np.ndarray[Any, Any]"]:
        """The array in parts of `count` rows; the last may have fewer."""
        array = self.arrays[name]
        if array.by_column:
            raise DataError(
                f"its array {shown(name)} is stored column by column; pass it through numpy.ascontiguousarray and save "
                "it again"
            )
        total, *rest = array.shape
        sizes = (min(count, total - start) * prod(rest) for start in range(0, total, count))
        for part in self._parts(array, sizes):
            yield part.reshape(-1, *rest)

    def _parts(self, array: Array, sizes: Iterable[int]) -> Iterator["np.ndarray[Any, Any]"]:
        """Stretches of the array, of so many numbers each."""
        name = f"its array {shown(array.name)}"
        if array.dtype.hasobject:
            raise DataError(
                f"{name} holds Python objects, and reading them could run anything; save numbers instead"
            )
        if not prod(array.shape):
            raise DataError(f"{name} is empty")
        with (
            telling_damage(),
            zipfile.ZipFile(self.path) as archive,
            archive.open(f"{array.name}.npy") as file,
        ):
            _header(file, array.name)
            for size in sizes:
                yield np.frombuffer(_exactly(file, size * array.dtype.itemsize), dtype=array.dtype)
            if file.read(1):  # which also compares the checksum
                raise DataError(f"{name} is longer than it says; fetch it again")


def _header(file: IO[bytes], name: str) -> Array:
    version = npy.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise DataError(f"its array {shown(name)} holds records; save plain numbers instead")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_column, dtype = read(file)
    return Array(name, shape, dtype, by_column and len(shape) > 1)


def _exactly(file: IO[bytes], size: int) -> bytearray:
    """As a bytearray, so that the array made of it can be written to, as torch likes it."""
    data = bytearray()
    while len(data) < size:
        part = file.read(min(size - len(data), 64 * _CHUNK))
        if not part:
            raise EOFError(f"{size - len(data)} bytes are missing")
        data += part
    return data
