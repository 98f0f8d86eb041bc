"""Numbers recorded from upstream implementations: the rule that made their weights, and a reader of their files.

A fixture is NAME.json, which tells the model's configuration, its keys and how it was called, and NAME.npz, its
arrays; one that is all words has no NAME.npz. No weights are stored: each tensor follows from its key, its shape and
a seed. `full_keys/NAME.json.gz` holds the keys of a released size.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ardistill.errors import ArdistillError
from ardistill.wording import message_of

STRUCTURAL = {"lvl_1L", "attn_bias_for_masking", "zero_k_bias", "ema_vocab_hit_SV", "codebook_used"}
"""Last parts of keys whose tensors are left as they are constructed."""
SPECIAL = (  # (key ends with, mean, deviation), first match wins
    ("scale_mul_1H11", 3.0, 1.5),
    ("quantize.embedding.weight", 0.0, 0.5),
    ("lvl_embed.weight", 0.0, 0.5),
    ("pos_start", 0.0, 0.5),
    ("pos_1LC", 0.0, 0.5),
    (".ada_gss", 0.0, 0.5),
    ("scale_shift_table", 0.0, 0.5),
    ("class_emb.weight", 0.0, 1.0),
    ("embedding_table.weight", 0.0, 1.0),
    ("tok_embeddings.weight", 0.0, 1.0),
    ("uncond_embedding", 0.0, 1.0),
)
ATOL = RTOL = 1e-4
"""A float may be off by ATOL + RTOL * |recorded|; integers must be equal."""
_SHOWN = 3


class FixtureError(ArdistillError):
    """A fixture can't be read, or is of another model than the one built from its configuration."""


def weight(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    """The fixture's value of one state-dict tensor; it depends on the key, the shape and the seed alone."""
    mean, deviation = _moments(key, shape)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode(), seed)))
    return (rng.standard_normal(shape) * deviation + mean).astype(np.float32)


def _moments(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    if key == "n_d_embed.weight":
        return 0.0, 0.5
    for end, mean, deviation in SPECIAL:
        if key.endswith(end):
            return mean, deviation
    if len(shape) == 1:
        return (1.0, 0.1) if key.endswith(".weight") else (0.0, 0.1)
    return 0.0, float(1 / np.sqrt(np.prod(shape[1:])))


def fill(module: nn.Module, seed: int) -> None:
    """Gives every non-structural tensor of the module's state dict its fixture value, in place."""
    for key, tensor in module.state_dict().items():
        if key.rsplit(".", 1)[-1] not in STRUCTURAL and tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(weight(key, tuple(tensor.shape), seed)))


class Fixture:
    """One NAME.json with its NAME.npz, read whole; it remembers which arrays were asked for.

    Raises FixtureError where a file is damaged, missing, or holds other arrays than the json says.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.info = _json_object(folder / f"{name}.json", (folder / f"{name}.json").read_bytes)
        self._arrays = _arrays(folder / f"{name}.npz", self.info.get("arrays"))
        self._asked: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        """Integers come as int64, others as float32."""
        if name not in self._arrays:
            raise FixtureError(f"{self.name} holds no array {name!r}")
        self._asked.add(name)
        tensor = torch.from_numpy(self._arrays[name])
        return tensor.float() if tensor.is_floating_point() else tensor.long()

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def stored(self, name: str) -> np.ndarray[Any, Any]:
        """The array as the file has it; it does not count as asked for."""
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        """The arrays' names, sorted."""
        return iter(sorted(self._arrays))

    @property
    def asked(self) -> frozenset[str]:
        """The arrays that were read through `fixture[name]`."""
        return frozenset(self._asked)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.info["config"])

    def fill(self, module: nn.Module, keys: str = "keys", seed: str = "weight_seed") -> None:
        """Fills the module and checks its keys, shapes, dtypes, and the crc32 of every filled tensor."""
        fill(module, self.info[seed])
        check_keys(module, self.info[keys], self.info.get("n_params") if keys == "keys" else None)
        for key, tensor in module.state_dict().items():
            crc = zlib.crc32(np.ascontiguousarray(tensor.numpy()).tobytes())
            if crc != self.info[keys][key]["crc32"]:
                raise FixtureError(f"{key}: the weight rule gives other bytes than the fixture's")


def check_keys(module: nn.Module, keys: dict[str, Any], n_params: int | None) -> None:
    """Compares every state-dict key, shape and dtype, and the number of parameters where it is known."""
    recorded = {key: (list(value["shape"]), value["dtype"]) for key, value in keys.items()}
    ours = {k: (list(t.shape), str(t.dtype).removeprefix("torch.")) for k, t in module.state_dict().items()}
    faults = [f"{key} is missing here" for key in recorded if key not in ours]
    faults += [f"{key} is not in the fixture" for key in ours if key not in recorded]
    faults += [
        f"{key} is {ours[key]} instead of {want}"
        for key, want in recorded.items()
        if key in ours and ours[key] != want
    ]
    count = sum(parameter.numel() for parameter in module.parameters())
    if n_params is not None and count != n_params:
        faults.append(f"{count} parameters instead of {n_params}")
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise FixtureError(f"other keys than the fixture's: {'; '.join(faults[:_SHOWN])}{more}")


def full_keys(path: Path) -> dict[str, Any]:
    """What a full_keys/NAME.json.gz tells of a released size."""
    return _json_object(path, lambda: gzip.decompress(path.read_bytes()))


def _json_object(path: Path, read: Callable[[], bytes]) -> dict[str, Any]:
    try:
        info = json.loads(read())
    except Exception as error:  # a damaged archive can make a reader raise anything
        raise FixtureError(f"{path.name} can't be read ({message_of(error)})") from error
    if not isinstance(info, dict):
        raise FixtureError(f"{path.name} holds no object")
    return info


def _arrays(path: Path, described: dict[str, Any] | None) -> dict[str, np.ndarray[Any, Any]]:
    if not path.exists():
        if described:
            raise FixtureError(f"{path.name} is missing")
        return {}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise FixtureError(f"{path.name} can't be read ({message_of(error)})") from error
    if described is None:
        return arrays
    there = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()}
    for name in sorted(there.keys() | described.keys()):
        if described.get(name) != there.get(name):
            raise FixtureError(
                f"{path.name} holds {name} as {there.get(name)}, and its json says {described.get(name)}"
            )
    return arrays
