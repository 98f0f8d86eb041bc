"""Every bad file is met with one sentence, and nothing in it runs."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from ardistill.__main__ import main
from ardistill.errors import WeightsError
from ardistill.weights import read_weights
from tests.weights.making import BAD, TENSORS, Bomb, cut, flip, safetensors, same, save, save_lightning


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_clear_sentence(tmp_path, name):
    make, said = BAD[name]
    path = make(tmp_path / "file.pth")
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    message = str(caught.value)
    assert said in message
    assert str(path) in message or "there is no weights file" in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300


@pytest.mark.parametrize("name", ["html", "cut zip", "module"])
def test_the_command_line_says_it_in_one_line(tmp_path, name):
    make, said = BAD[name]
    path = make(tmp_path / "file.pth")
    words = [sys.executable, "-m", "ardistill", "convert", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["file.pth"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path, bomb: save(path, {"model": TENSORS, "args": bomb}),
        lambda path, bomb: save(path, {"model": TENSORS, "args": bomb}, old=True),
        lambda path, bomb: save_lightning(path, {**TENSORS, "x": bomb}),
        *(
            lambda path, bomb, protocol=protocol: path.write_bytes(pickle.dumps([bomb], protocol))
            for protocol in range(6)
        ),
    ],
)
def test_a_pickle_that_would_run_something_does_not(tmp_path, write):
    path = tmp_path / "evil.pth"
    write(path, Bomb(tmp_path / "boom"))
    with pytest.raises(WeightsError, match=r"posix\.mkdir|no weights file|this is text"):
        read_weights(path)
    assert [item.name for item in tmp_path.iterdir()] == ["evil.pth"]


@pytest.mark.parametrize("make", [safetensors, lambda path: save(path, TENSORS)])
def test_a_file_name_that_is_no_text_is_to_be_changed(tmp_path, make):
    good = make(tmp_path / "good.pth")
    path = tmp_path / os.fsdecode(b"b\xe9b\xe9.pth")
    good.rename(path)
    with pytest.raises(WeightsError, match=r"can't be read as weights: its path is not UTF-8; rename it"):
        read_weights(path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://huggingface.co/o/r.x/resolve/main/sub/a.pth", "write hf://o/r.x/sub/a.pth instead"),
        ("https://hf.co/o/r/resolve/v1/a.pth?download=true", "write hf://o/r/a.pth@v1 instead"),
        ("https://huggingface.co/o/r/blob/refs%2Fpr%2F1/a.pth", "write hf://o/r/a.pth@refs/pr/1 instead"),
        ("https://huggingface.co/o/r", "download it first"),
        ("http://example.org/a.pth", "'http://example.org/a.pth' is not on this machine; download it first"),
    ],
)
def test_what_lies_on_the_web_is_not_looked_for_here(capsys, given, said):
    for path in (given, Path(given)):
        with pytest.raises(WeightsError, match=re.escape(said)):
            read_weights(path)
    assert main(["convert", given]) == 2
    assert said in capsys.readouterr().err


def test_the_bomb_is_one(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "boom")))
    assert (tmp_path / "boom").is_dir()


def test_names_of_lightning_are_never_imported(tmp_path, monkeypatch):
    """A package of that name that would do harm when imported lies on the path."""
    path = save_lightning(tmp_path / "last.ckpt", TENSORS, module="pytorch_lightning.harm")
    package = tmp_path / "pytorch_lightning"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert same(read_weights(path).tensors, TENSORS)


@pytest.mark.parametrize("module", ["pytorch_lightning_evil.x", "lightningevil", "evil.pytorch_lightning.x"])
def test_names_like_lightnings_are_refused(tmp_path, module):
    with pytest.raises(WeightsError, match=module):
        read_weights(save_lightning(tmp_path / "last.ckpt", TENSORS, module=module))


SMALL = {"w": torch.arange(40.0), "n": torch.arange(5)}


@given(st.integers(0, 10**9), st.integers(0, 7))
@settings(max_examples=300)
def test_no_flipped_bit_of_a_torch_file_changes_weights_in_silence(tmp_path_factory, place, bit):
    path = save(tmp_path_factory.mktemp("flip") / "file.pth", SMALL)
    flip(path, place % path.stat().st_size, bit)
    try:
        read = read_weights(path)
    except WeightsError:
        return
    assert same(read.tensors, SMALL)  # padding, dates and the like


@given(st.sampled_from(["zip", "old", "safetensors"]), st.floats(0, 1, exclude_max=True))
@settings(max_examples=100)
def test_no_cut_file_is_read(tmp_path_factory, kind, share):
    path = tmp_path_factory.mktemp("cut") / "file.pth"
    cut(safetensors(path) if kind == "safetensors" else save(path, SMALL, old=kind == "old"), share)
    with pytest.raises(WeightsError):
        read_weights(path)


def test_a_file_whose_writer_left_checksums_out_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = save(tmp_path / "file.pth", TENSORS)
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read_weights(path).tensors, TENSORS)


def test_a_file_zipped_anew_with_compression_is_read(tmp_path):
    import zipfile

    path = save(tmp_path / "file.pth", TENSORS)
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in source.namelist():
            out.writestr(name, source.read(name))
    assert same(read_weights(tmp_path / "small.pth").tensors, TENSORS)
