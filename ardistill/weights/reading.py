"""Reading weights: safetensors, or torch files without unpickling; clear about what is wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from safetensors import safe_open
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.weights.contents import AGAIN, Content, UnreadableError, content_of
from ardistill.weights.hub import fetched, is_remote
from ardistill.weights.torchfile import read_torch
from ardistill.weights.wrapping import Prefer, plain_keys, unwrapped
from ardistill.wording import message_of


@attrs.frozen(eq=False)
class Weights:
    """Tensors by key, what the file says about them, and where they come from.

    Most tensors still lie in the file, and are read when used: copy what is to outlive it, and do not change the file
    in place while it is used, for the system kills a process that reads behind a mapped file's end. `wrapping` holds
    the keys under which the file kept them, such as ("trainer", "ema_parameters").
    """

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]
    path: Path
    wrapping: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The path, and what of the file this is, for messages: "var.pth (its trainer.ema_parameters)"."""
        return f"{self.path} (its {'.'.join(self.wrapping)})" if self.wrapping else str(self.path)

    def without(self, *prefixes: str) -> "Weights":
        """The same without the keys that begin with one of `prefixes`."""
        kept = {key: value for key, value in self.tensors.items() if not key.startswith(prefixes)}
        return attrs.evolve(self, tensors=kept)


def read_weights(path: Path | str, *, prefer: Prefer = "ema") -> Weights:
    """Reads a safetensors file, or a torch file that holds nothing but tensors and plain containers.

    `path` may be `hf://owner/repo/path/in/repo[@revision]`, a file on the Hugging Face Hub, fetched once. What the file
    is, is told by its content. Where it has averaged (EMA) and trained weights, `prefer` ("ema" or "raw") says which to
    take. Checksums are compared as `torchfile.read_torch` says; safetensors have none.
    """
    place = fetched(path) if is_remote(path) else Path(path)
    try:
        content = content_of(place)
        _check_name(place)
        if content is Content.SAFETENSORS:
            return _read_safetensors(place)
        return _read_torch(place, content, prefer)
    except WeightsError:
        raise
    except UnreadableError as error:
        raise WeightsError(f"{place} can't be read as weights: {error}") from error
    except Exception as error:  # a damaged file can make a reader raise anything
        reason = f"it is damaged or cut short ({message_of(error)[:120] or type(error).__name__}); {AGAIN}"
        raise WeightsError(f"{place} can't be read as weights: {reason}") from error


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # the readers take text alone
        raise UnreadableError("its path is not UTF-8; rename it") from error


def _read_torch(path: Path, content: Content, prefer: Prefer) -> Weights:
    tensors, wrapping = unwrapped(read_torch(path, content), prefer)
    return Weights(tensors, {}, path, wrapping)


def _read_safetensors(path: Path) -> Weights:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    about = json.loads(metadata.get("ardistill", "{}"))
    if not isinstance(about, dict):
        raise UnreadableError("its metadata is not an object; write it again")
    return Weights(tensors if "kind" in about else plain_keys(tensors), about, path)
