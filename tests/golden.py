"""The parity fixtures for tests; without them, tests skip.

They live beside the repository, in ../shared/golden, and are not part of it. `benchmarks/golden.py` reads them.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.golden import ATOL, RTOL, Fixture, check_keys, fill, full_keys, weight

__all__ = ["ROOT", "Fixture", "check_full_keys", "close", "fill", "load", "weight"]

ROOT = Path(__file__).parents[2] / "shared" / "golden"


def load(name: str) -> Fixture:
    """The fixture, or a skipped test where the fixtures are absent."""
    if not (ROOT / f"{name}.json").exists():
        pytest.skip(f"the parity fixtures are not here ({ROOT / name})")
    return Fixture(name, ROOT)


def check_full_keys(name: str, module: nn.Module) -> None:
    """Compares every state-dict key, shape and dtype, and the parameter count, with a released model's."""
    path = ROOT / "full_keys" / f"{name}.json.gz"
    if not path.exists():
        pytest.skip(f"the parity fixtures are not here ({path})")
    info = full_keys(path)
    check_keys(module, info["keys"], info["n_params"])


def close(got: Tensor, want: Tensor) -> None:
    """assert_close at the fixtures' tolerance."""
    torch.testing.assert_close(got, want, atol=ATOL, rtol=RTOL)
