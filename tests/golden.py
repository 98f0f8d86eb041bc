"""Reading the parity fixtures recorded from upstream implementations, and the rule that made their weights.

The fixtures live beside the repository, in ../shared/golden, and are not part of it; without them tests skip.
"""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).parents[2] / "shared" / "golden"
STRUCTURAL = {"lvl_1L", "attn_bias_for_masking", "zero_k_bias", "ema_vocab_hit_SV", "codebook_used"}
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
        if key.rsplit(".", 1)[-1] not in STRUCTURAL:
            tensor.copy_(torch.from_numpy(weight(key, tuple(tensor.shape), seed)))


class Fixture:
    """One NAME.npz with its NAME.json. Integer arrays come as int64, others as float32."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.info: dict[str, Any] = json.loads((ROOT / f"{name}.json").read_text())
        arrays = ROOT / f"{name}.npz"
        self._arrays = np.load(arrays) if arrays.exists() else {}

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.from_numpy(self._arrays[name])
        return tensor if tensor.is_floating_point() else tensor.long()

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.info["config"])

    def fill(self, module: nn.Module, keys: str = "keys", seed: str = "weight_seed") -> None:
        """Fills the module and checks its keys, shapes, dtypes, and the crc32 of every filled tensor."""
        fill(module, self.info[seed])
        expected = self.info[keys]
        state = module.state_dict()
        assert set(state) == set(expected)
        for key, tensor in state.items():
            want = expected[key]
            assert list(tensor.shape) == want["shape"], key
            assert str(tensor.dtype).removeprefix("torch.") == want["dtype"], key
            crc = zlib.crc32(np.ascontiguousarray(tensor.numpy()).tobytes())
            assert crc == want["crc32"], f"{key}: the weight rule gives other bytes than the fixture's"


def load(name: str) -> Fixture:
    """The fixture, or a skipped test where the fixtures are absent."""
    if not (ROOT / f"{name}.json").exists():
        pytest.skip(f"the parity fixtures are not here ({ROOT / name})")
    return Fixture(name)


def check_full_keys(name: str, module: nn.Module) -> None:
    """Compares every state-dict key, shape and dtype, and the parameter count, with a released model's."""
    path = ROOT / "full_keys" / f"{name}.json.gz"
    if not path.exists():
        pytest.skip(f"the parity fixtures are not here ({path})")
    info = json.loads(gzip.decompress(path.read_bytes()))
    expected = {key: (value["shape"], value["dtype"]) for key, value in info["keys"].items()}
    state = {k: (list(t.shape), str(t.dtype).removeprefix("torch.")) for k, t in module.state_dict().items()}
    assert state == expected
    assert sum(parameter.numel() for parameter in module.parameters()) == info["n_params"]


def close(got: Tensor, want: Tensor) -> None:
    """assert_close at the fixtures' tolerance."""
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
