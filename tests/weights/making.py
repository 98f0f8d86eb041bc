"""Files such as trainers, browsers and attackers leave behind."""

import io
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import torch

TENSORS = {
    "a.weight": torch.arange(600.0).reshape(20, 30),
    "a.bias": torch.arange(20) / 7,
    "n": torch.tensor(3),
}


def same(one, other) -> bool:
    """The same keys, dtypes, shapes and bytes, so that NaN equals itself."""
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype
        and one[key].shape == other[key].shape
        and torch.equal(raw(one[key]), raw(other[key]))
        for key in one
    )


def raw(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def save(path: Path, content: object, *, old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def save_lightning(path: Path, state_dict, *, old: bool = False, module: str = "pytorch_lightning.callbacks"):
    """A checkpoint of 2020: its callbacks are keyed by their classes. Those classes are gone afterwards."""
    fake = types.ModuleType(module)
    fake.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module})
    fake.Timer = type("Timer", (), {"__module__": module})
    timer = fake.Timer()
    timer.seconds = 5
    parts = module.split(".")
    above = {".".join(parts[:n]): types.ModuleType("above") for n in range(1, len(parts))}
    sys.modules.update(above | {module: fake})
    try:
        return save(
            path,
            {
                "epoch": 3,
                "callbacks": {fake.ModelCheckpoint: {"best": torch.tensor(0.5)}, fake.Timer: timer},
                "optimizer_states": [{"state": {0: torch.zeros(2)}}],
                "state_dict": state_dict,
            },
            old=old,
        )
    finally:
        for name in (*above, module):
            del sys.modules[name]


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.place),)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    return _write(path, content[: int(len(content) * share)])


def flip(path: Path, place: int, bit: int = 0) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    return _write(path, bytes(content))


def safetensors(path: Path) -> Path:
    from ardistill.weights import write_weights

    write_weights(path, TENSORS, {})
    return path


def torchscript(path: Path) -> Path:
    """The names that TorchScript archives have; making a real one warns."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl", "m/version"):
            archive.writestr(name, b"\x80\x02}.")
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights are elsewhere")
    return path


def npz(path: Path) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return _write(path, buffer.getvalue())


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def payload_start(path: Path) -> int:
    """Where the first tensor of a torch zip file begins."""
    with zipfile.ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if "/data/" in info.filename)
    head = path.read_bytes()[info.header_offset : info.header_offset + 30]
    return (
        info.header_offset
        + 30
        + int.from_bytes(head[26:28], "little")
        + int.from_bytes(head[28:30], "little")
    )


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 433\n"

BAD = {
    "absent": (lambda path: path, "there is no weights file at"),
    "directory": (folder, "it is a directory; give a file inside it"),
    "empty": (lambda path: _write(path, b""), "it is empty; fetch it again"),
    "html": (
        lambda path: _write(path, b"\n <!DOCTYPE html><title>Log in</title>"),
        "this is an HTML page, not weights: the download went wrong, e.g. a login page",
    ),
    "lfs": (lambda path: _write(path, LFS), "Git LFS pointer, not the weights; run `git lfs pull`"),
    "gzip": (lambda path: _write(path, b"\x1f\x8b\x08" + bytes(50)), "compressed with gzip; unpack it"),
    "json": (
        lambda path: _write(path, b'{"err": {"message": "Invalid credentials"}}'),
        "this is text, not weights: the download went wrong",
    ),
    "plain text": (
        lambda path: _write(path, "Entrée not found\n".encode() + b"x" * 1006 + "é".encode()),
        "this is text, not weights: the download went wrong",
    ),
    "html behind a comment": (
        lambda path: _write(path, b"<!-- saved from a proxy --><html></html>"),
        "this is text, not weights: the download went wrong",
    ),
    "noise": (lambda path: _write(path, bytes(range(200))), "its first bytes are those of no weights file"),
    "npy": (lambda path: _write(path, b"\x93NUMPY\x01\x00"), "it is a NumPy array"),
    "npz": (npz, "it is a NumPy archive; expected safetensors"),
    "other zip": (zipped, "it is a zip archive that torch.save did not write"),
    "torchscript": (torchscript, "it is a TorchScript program; save its state_dict"),
    "cut zip": (lambda path: cut(save(path, TENSORS), 0.7), "a zip file cut short or damaged"),
    "cut old": (lambda path: cut(save(path, TENSORS, old=True), 0.7), "damaged or cut short"),
    "cut safetensors": (lambda path: cut(safetensors(path), 0.7), "damaged or cut short"),
    "cut header": (lambda path: cut(safetensors(path), 0.05), "a safetensors file cut short"),
    "flipped payload": (
        lambda path: flip(save(path, TENSORS), payload_start(path) + 9),
        "a zip file cut short or damaged (Bad CRC-32",
    ),
    "flipped header": (lambda path: flip(safetensors(path), 12), "damaged or cut short"),
    "pickle": (lambda path: _write(path, pickle.dumps({"a": 1})), "a pickle that torch.save did not write"),
    "module": (lambda path: save(path, torch.nn.Linear(2, 2)), "torch.nn.modules.linear.Linear"),
    "number": (lambda path: save(path, 3), "it holds no state dict but an int"),
    "no state dict": (
        lambda path: save(path, {"epoch": 3, "generator": {"a": torch.zeros(2)}}),
        "none of its keys, 'epoch, generator', leads to a state dict",
    ),
    "stray number": (
        lambda path: save(path, {**TENSORS, "epoch": 3}),
        "'epoch' is an int among the tensors of its state dict",
    ),
    "numbered keys": (lambda path: save(path, {0: torch.zeros(2)}), "the key 0, which is no text"),
    "expanded": (
        lambda path: save(path, {"w": torch.zeros(1).expand(2**45)}),
        "'w' repeats numbers that the file holds once",
    ),
    "expanded, old": (
        lambda path: save(path, {"w": torch.zeros(2, 1).expand(2, 3)}, old=True),
        "'w' repeats numbers that the file holds once",
    ),
    "sparse": (lambda path: save(path, {"a": torch.eye(3).to_sparse()}), "'a' is sparse"),
    "both keys": (
        lambda path: save(path, {"a.b": torch.zeros(1), "a._orig_mod.b": torch.zeros(1)}),
        "it holds some keys twice",
    ),
    "ring": (lambda path: save(path, ring()), "damaged or cut short"),
}
"""What can be wrong with a file: how to make it, and what is said of it."""


def ring() -> dict:
    content: dict = {}
    content["model"] = content
    return content
