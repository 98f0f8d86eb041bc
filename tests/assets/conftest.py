"""A store, a torch cache and a server for each test, and a file in the catalogue that is small."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ardistill.assets import Asset, catalogue, downloading
from tests.assets.serving import Mirror, serving

CONTENT = random.Random(0).randbytes(20_000)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the machine's own caches is looked into, and no test waits between two tries."""
    monkeypatch.setenv("ARDISTILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(downloading, "PAUSES", (0.01,) * len(downloading.PAUSES))
    return tmp_path / "home" / "assets"


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with serving(Mirror(CONTENT)) as server:
        yield server


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Asset]:
    """Two files of `CONTENT` in the catalogue: "pinned", whose hash is published, and "loose"."""
    told = {"about": "a small file", "url": "https://127.0.0.1:1/nowhere", "page": "https://127.0.0.1:1/"}
    made = {
        "pinned": Asset(
            name="pinned",
            file="pinned.bin",
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            sha256_by="publisher",
            licence="MIT",
            **told,
        ),
        "loose": Asset(name="loose", file="loose.bin", **told),
        "sized": Asset(name="sized", file="sized.bin", size=len(CONTENT), **told),
    }
    for name, each in made.items():
        monkeypatch.setitem(catalogue(), name, each)
    return made
