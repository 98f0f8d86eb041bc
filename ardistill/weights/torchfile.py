"""Files of `torch.save`, read without running anything they hold.

Only tensors and plain containers are made, by `torch.load(weights_only=True)`. Two more sorts of name may occur:

* `argparse.Namespace`, a record of options in LlamaGen's training files;
* Lightning's classes, which its checkpoints of 2020 use as keys: stand-ins that do and keep nothing take their place.
"""

import argparse
import pickle
import pickletools
import re
import warnings
import zipfile
from collections import deque
from pathlib import Path
from typing import IO, Any, Self

import torch

from ardistill.weights.contents import AGAIN, EXPECTED, Content, UnreadableError
from ardistill.wording import listed, message_of, shown

CHECKED_BYTES = 2 << 30
"""Of larger files only the records up to `_SMALL` are compared with their checksums: about a second."""
_SMALL = 1 << 20
_CHUNK = 1 << 20
_LIGHTNING = ("pytorch_lightning.", "lightning.")
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
_OLD_PARTS = 4  # magic number, version, system and the object itself are a pickle each


class _Absent:
    """Stands for one of Lightning's classes: takes anything, does and keeps nothing."""

    def __new__(cls, *_: object) -> Self:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_torch(path: Path, content: Content) -> object:
    """What the file holds. Tensors of zip files stay on disk until they are used.

    Checksums are compared in zip files up to `CHECKED_BYTES`. What can't be seen: changed weights in larger files and
    in files of torch before 1.6, as long as they are finite numbers. Raises UnreadableError, or whatever torch raises
    for damaged files.
    """
    if content is Content.PICKLE:
        raise UnreadableError(_what_a_pickle(path))
    mappable = content is Content.ZIP and _check_zip(path)
    allowed = _allowed(_globals_of(path, content))
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")  # what is wrong with a file is said by the error
            return _load(path, mappable)
    except pickle.UnpicklingError as error:
        refused = _REFUSED.search(str(error))
        if refused is None:
            raise UnreadableError(f"it holds more than tensors, or is damaged; {EXPECTED}") from error
        raise UnreadableError(_refusal([refused[1]])) from error


def _load(path: Path, mappable: bool) -> object:
    if path.suffix == ".safetensors":  # newer torch would go by this name
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)


def _check_zip(path: Path) -> bool:
    """Whether its tensors can stay on disk. Raises UnreadableError for other archives and for damage."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_maker([info.filename for info in infos])
            whole = sum(info.file_size for info in infos) <= CHECKED_BYTES
            for info in infos:
                if info.CRC and (
                    whole or info.file_size <= _SMALL
                ):  # 0: torch was told to leave checksums out
                    with archive.open(info) as record:
                        while record.read(_CHUNK):
                            pass
            return all(info.compress_type == zipfile.ZIP_STORED for info in infos)
    except zipfile.BadZipFile as error:
        raise UnreadableError(
            f"it is a zip file cut short or damaged ({message_of(error)}); {AGAIN}"
        ) from error


def _check_maker(names: list[str]) -> None:
    if any(name.endswith("/constants.pkl") for name in names):
        raise UnreadableError("it is a TorchScript program; save its state_dict with torch.save instead")
    if not any(name.endswith("/data.pkl") for name in names):
        numpy = bool(names) and all(name.endswith(".npy") for name in names)
        kind = "a NumPy archive" if numpy else "a zip archive that torch.save did not write"
        raise UnreadableError(f"it is {kind}; {EXPECTED}")


def _globals_of(path: Path, content: Content) -> set[str]:
    """The full names of all the file wants to import; none without a checksum, which zipfile reads nothing without."""
    if content is Content.OLD_TORCH:
        with path.open("rb") as file:
            return set[str]().union(*(_globals_in(file) for _ in range(_OLD_PARTS)))
    with zipfile.ZipFile(path) as archive:
        record = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
        if not record.CRC:
            return set()
        with archive.open(record) as file:
            return _globals_in(file)


def _globals_in(file: IO[bytes]) -> set[str]:
    """Those of one pickle; the file is left behind its end."""
    names = set()
    texts: deque[str] = deque(maxlen=2)
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in {"GLOBAL", "INST"}:
            names.add(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            names.add(".".join(texts))
        elif isinstance(argument, str):
            texts.append(argument)
    return names


def _allowed(names: set[str]) -> list[Any]:
    """What may be made besides torch's own choice; without what is allowed already, since leaving takes ours away."""
    namespace = {argparse.Namespace}.difference(torch.serialization.get_safe_globals())
    stand_ins = [(type("_Absent", (_Absent,), {}), name) for name in names if name.startswith(_LIGHTNING)]
    return [*namespace, *stand_ins]


def _what_a_pickle(path: Path) -> str:
    try:
        with path.open("rb") as file:
            names = sorted(_globals_in(file))
    except Exception:  # anything can be wrong with a damaged pickle
        names = []
    return _refusal(names) if names else f"it is a pickle that torch.save did not write; {EXPECTED}"


def _refusal(names: list[str]) -> str:
    what = shown(listed(names))
    return (
        f"it holds more than tensors, {what}, and making that could run anything; save its state_dict alone"
    )
