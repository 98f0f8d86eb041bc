"""Where files are looked for, and what is said of those that are missing or wrong."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ardistill.assets import catalogue, located, sha256_of
from ardistill.assets import store as store_folder
from ardistill.assets.finding import torch_cache
from ardistill.assets.hashing import record_of, write_record
from ardistill.errors import ConfigError, WeightsError
from tests.assets.conftest import CONTENT

OPTION = "eval.weights=PATH"


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_was_given_comes_first_then_the_store_then_torchs_cache(tmp_path, store):
    cached = put(torch_cache() / "pinned.bin")
    assert located("pinned", None, OPTION) == cached
    stored = put(store / "pinned.bin")
    assert located("pinned", None, OPTION) == stored
    given = put(tmp_path / "renamed.pth")
    assert located("pinned", given, OPTION) == given


def test_the_store_follows_the_environment(monkeypatch, tmp_path):
    assert store_folder() == tmp_path / "home" / "assets"
    monkeypatch.delenv("ARDISTILL_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert store_folder() == tmp_path / "cache" / "ardistill" / "assets"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_folder() == tmp_path / ".cache" / "ardistill" / "assets"


@pytest.mark.parametrize("names", [["TORCH_HOME", "XDG_CACHE_HOME"], ["XDG_CACHE_HOME"], []])
def test_torchs_cache_is_told_alike_with_torch_loaded_and_without(names, tmp_path, monkeypatch):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in names:
        monkeypatch.setenv(name, str(tmp_path / name))
    with_torch = torch_cache()
    assert with_torch == Path(torch.hub.get_dir()) / "checkpoints"
    assert with_torch.is_relative_to(tmp_path)
    monkeypatch.delitem(sys.modules, "torch")
    assert torch_cache() == with_torch


def test_nothing_here_imports_torch():
    asked = "import sys, ardistill.cli.fetch, ardistill.assets; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_a_moved_torch_cache_is_found(tmp_path):
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "moved"))
    try:
        cached = put(tmp_path / "moved" / "checkpoints" / "pinned.bin")
        assert located("pinned", None, OPTION) == cached
    finally:
        torch.hub.set_dir(before)


def test_a_missing_file_is_told_in_one_sentence(store):
    with pytest.raises(WeightsError) as caught:
        located("inception", None, OPTION)
    text = str(caught.value)
    for part in (
        "inception needs weights-inception-2015-12-05-6726825d.pth",
        f"neither at {store} nor at {torch_cache()}",
        "`python -m ardistill fetch inception`",
        f"published at {catalogue()['inception'].url}",
        "or give eval.weights=PATH",
    ):
        assert part in text
    assert "\n" not in text


def test_a_given_path_that_is_no_file(tmp_path):
    for path in (tmp_path / "no.pth", tmp_path):
        with pytest.raises(WeightsError, match=r"^eval\.weights=.* is no file; give the path of pinned\.bin"):
            located("pinned", path, OPTION)


@pytest.mark.parametrize("where", ["given", "store", "cache"])
def test_a_file_with_another_hash_is_refused_wherever_it_lies(where, tmp_path, store):
    path = {"given": tmp_path, "store": store, "cache": torch_cache()}[where] / "pinned.bin"
    other = put(path, CONTENT[:-1] + b"!")
    begins = hashlib.sha256(other.read_bytes()).hexdigest()[:8]
    published = catalogue()["pinned"].sha256[:8]
    with pytest.raises(
        WeightsError,
        match=rf"pinned\.bin is not pinned: its sha256 begins with {begins} where {published} is published; fetch it "
        r"again \(python -m ardistill fetch pinned\), or give eval\.weights=PATH",
    ):
        located("pinned", other if where == "given" else None, OPTION)


def test_a_file_without_a_published_hash_is_held_against_its_record(store):
    path = put(store / "loose.bin")
    assert located("loose", None, OPTION) == path
    write_record(path, sha256_of(path))
    assert located("loose", None, OPTION) == path
    put(path, b"something else")
    with pytest.raises(WeightsError, match="was recorded when it was first fetched"):
        located("loose", None, OPTION)
    record_of(path).write_text("nonsense")
    with pytest.raises(WeightsError, match=r"loose\.bin\.sha256 holds no sha256; remove it"):
        located("loose", None, OPTION)


def test_records_are_read_by_sha256sum(store):
    path = put(store / "loose.bin")
    write_record(path, sha256_of(path))
    subprocess.run(["sha256sum", "-c", record_of(path).name], cwd=store, check=True, capture_output=True)


def test_hashes_follow_the_file(tmp_path):
    path = put(tmp_path / "a")
    assert sha256_of(path) == hashlib.sha256(CONTENT).hexdigest()
    put(path, CONTENT + b"more")
    assert sha256_of(path) == hashlib.sha256(CONTENT + b"more").hexdigest()


def test_unknown_names():
    with pytest.raises(ConfigError, match="did you mean pinned"):
        located("pined", None, OPTION)


def test_a_given_address_of_the_hub_must_be_one():
    with pytest.raises(WeightsError, match="is no address of a file; write hf://owner/repo"):
        located("pinned", Path("hf://only"), OPTION)
