"""What a file is: told by its first bytes, never by its name."""

from codecs import getincrementaldecoder
from enum import Enum, auto
from pathlib import Path

from ardistill.errors import WeightsError
from ardistill.weights.hub import instead_of, is_web, web_address
from ardistill.wording import message_of, shown

AGAIN = "fetch it again"
EXPECTED = "expected safetensors, or a torch file of tensors alone"

_HEAD = 1024
_LONGEST = 250  # characters of a path that are told in full, since its end says most
_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that opens files of torch before 1.6
_HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_OTHERS = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the weights; run `git lfs pull` in its repository",
    b"\x93NUMPY": f"it is a NumPy array; {EXPECTED}",
    b"\x89HDF": f"it is an HDF5 file; {EXPECTED}",
    b"\x1f\x8b": "it is compressed with gzip; unpack it first",
}


class Content(Enum):
    """The sorts of file that can hold weights."""

    SAFETENSORS = auto()
    ZIP = auto()
    """`torch.save` since 1.6, but also TorchScript and .npz."""
    OLD_TORCH = auto()
    PICKLE = auto()


class UnreadableError(Exception):
    """Why a file that is there can't be read as weights, and what to do; `read_weights` puts the path before it."""


def content_of(path: Path) -> Content:
    """What the file is. Raises WeightsError where none is, UnreadableError for what can't hold weights."""
    check_present(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        size = path.stat().st_size
    except OSError as error:
        raise UnreadableError(f"the system refused it ({error.strerror or message_of(error)})") from error
    if not head:
        raise UnreadableError(f"it is empty; {AGAIN}")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML):
        raise UnreadableError("this is an HTML page, not weights: the download went wrong, e.g. a login page")
    for start, reason in _OTHERS.items():
        if head.startswith(start):
            raise UnreadableError(reason)
    if _is_text(head):
        raise UnreadableError("this is text, not weights: the download went wrong, or it is another file")
    return _weights_content(head, size)


def _is_text(head: bytes) -> bool:
    """Whether it can be UTF-8, as far as it goes, without what no text has. The length in safetensors has zeros."""
    try:
        text = getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not any(character < " " and not character.isspace() for character in text)


def check_present(path: Path) -> None:
    """Raises WeightsError where there is no file."""
    if is_web(path):
        raise WeightsError(f"{shown(web_address(path))} is not on this machine; {instead_of(path)}")
    name = repr(str(path)) if len(str(path)) <= _LONGEST else shown(str(path))
    try:
        present, folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):  # a name no file system takes
        present = folder = False
    if folder:
        raise WeightsError(f"there is no weights file at {name}: it is a directory; give a file inside it")
    if not present:
        raise WeightsError(
            f"there is no weights file at {name}; give the path of a .safetensors or .pth file"
        )


def _weights_content(head: bytes, size: int) -> Content:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Content.ZIP
    if _TORCH_MAGIC in head[:32]:
        return Content.OLD_TORCH
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return Content.PICKLE
    if head[8:9] == b"{":
        if 8 + int.from_bytes(head[:8], "little") > size:
            raise UnreadableError(f"it is a safetensors file cut short, or damaged at its start; {AGAIN}")
        return Content.SAFETENSORS
    raise UnreadableError(f"its first bytes are those of no weights file; {EXPECTED}")
