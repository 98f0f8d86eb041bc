"""`ardistill convert`, end to end."""

import hashlib

import pytest
import torch
from ardistill_var.loading import load_teacher
from ardistill_var.settings import VARTeacherSettings
from ardistill_vqgan.config import TamingConfig, TamingSettings
from ardistill_vqgan.loading import load_taming
from ardistill_vqgan.taming import TamingVQGAN

from ardistill.__main__ import main
from ardistill.weights import read_weights, write_weights
from tests.weights.making import BAD, TENSORS, safetensors, same, save, save_lightning

TAMING = TamingConfig(
    vocab=16, code_width=4, resolution=32, attn_resolutions=(8,), ch=32, ch_mult=(1, 2, 4), z_channels=8
)


def nothing(name: str) -> None:
    """No weights are bundled."""


def test_a_converted_file_holds_the_same_and_says_where_it_comes_from(tmp_path, capsys):
    base = torch.arange(12.0).reshape(3, 4)
    made = {**TENSORS, "half": base.bfloat16(), "turned": base.t(), "shared": base, "again": base}
    source = save(tmp_path / "var.ckpt", {"trainer": {"ema_parameters": made, "var_wo_ddp": TENSORS}})
    assert main(["convert", str(source)]) == 0
    target = tmp_path / "var.safetensors"
    read = read_weights(target)
    assert same(read.tensors, made)
    assert read.about == {
        "source": {
            "file": "var.ckpt",
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "wrapping": ["trainer", "ema_parameters"],
        }
    }
    out = capsys.readouterr().out
    assert out == f"{source} -> {target}: 7 tensors, 0.0 MiB, from trainer.ema_parameters\n"
    assert main(["convert", str(source), "prefer=raw", "overwrite=true"]) == 0
    assert same(read_weights(target).tensors, TENSORS)


def test_words_of_our_own_files_are_kept(tmp_path):
    write_weights(tmp_path / "own.safetensors", TENSORS, {"kind": "toy", "config": {"n": 3}})
    (tmp_path / "out").mkdir()
    assert main(["convert", str(tmp_path / "own.safetensors"), f"out={tmp_path / 'out'}"]) == 0
    read = read_weights(tmp_path / "out" / "own.safetensors")
    assert same(read.tensors, TENSORS)
    assert read.about == {"kind": "toy", "config": {"n": 3}}


@pytest.mark.parametrize("words", [[], ["overwrite=true"], ["overwrite=true", "out={tmp}"]])
@pytest.mark.parametrize("make", [safetensors, lambda path: save(path, TENSORS)])
def test_no_source_is_written_over(tmp_path, capsys, make, words):
    path = make(tmp_path / "own.safetensors")
    (tmp_path / "link.pth").symlink_to(path)
    (tmp_path / "link.safetensors").symlink_to(path)
    before = path.read_bytes()
    for name in ("own.safetensors", "link.pth"):
        given = str(tmp_path / name)
        assert main(["convert", given, *(word.format(tmp=tmp_path) for word in words)]) == 2
        err = capsys.readouterr().err
        assert "would be written over itself; give another folder with out=DIR" in err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "holds no tensors, so there is nothing to convert"),
        ({"model": {}, "steps": 3}, "leads to a state dict"),
        ({"__metadata__": torch.zeros(1)}, "can't hold the key '__metadata__', which safetensors keep for"),
        ({"\ud800": torch.zeros(1)}, "can't hold the key '\\ud800', which is not UTF-8"),
    ],
)
def test_what_can_not_be_written_is_refused(tmp_path, capsys, content, said):
    source = save(tmp_path / "a.pth", content)
    assert main(["convert", str(source)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [source]


def test_tamings_vqgan_loads_from_either(tmp_path):
    tensors = TamingVQGAN(TAMING).state_dict()
    source = save_lightning(tmp_path / "last.ckpt", {**tensors, "loss.logvar": torch.zeros(1)})
    assert main(["convert", str(source)]) == 0
    for path in (source, tmp_path / "last.safetensors"):
        settings = TamingSettings(checkpoint=path, resolution=32)
        assert same(load_taming(settings, nothing).state_dict(), tensors)


def test_a_var_teacher_loads_from_either(tmp_path):
    from ardistill_digits.data import Digits

    bundled = Digits().weights
    own = read_weights(bundled("var/teacher"))
    source = save(tmp_path / "var.pth", {"trainer": {"var_wo_ddp": own.tensors}})
    assert main(["convert", str(source)]) == 0
    for path in (source, tmp_path / "var.safetensors"):
        teacher = load_teacher(VARTeacherSettings(checkpoint=path), bundled)
        assert same({"w": teacher.model.head.weight.data}, {"w": own.tensors["head.weight"]})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "convert lacks its files"),
        (["{tmp}/none.pth"], "there is no weights file at"),
        (["{tmp}/a.pth", "{tmp}/none.pth"], "none.pth"),
        (["{tmp}/a.pth", "{tmp}/b.pth"], "b.safetensors is there already; give another out=DIR"),
        (["{tmp}/a.pth", "{tmp}/sub/a.pth", "out={tmp}"], "would both be written to"),
        (["{tmp}/a.pth", "out={tmp}/none"], "none is no folder that can be written to"),
        (["{tmp}/a.pth", "out={tmp}/b.safetensors"], "no folder that can be written to"),
        (["{tmp}/c.pth"], "c.safetensors is a directory"),
        (["{tmp}/a.pth", "prefer=best"], "prefer"),
        (["{tmp}/x=y.pth"], "a file's name must not hold '='; rename it"),
        (["{tmp}/a.pth", "outt={tmp}"], "out"),
        (["{tmp}/a.pth", "hf://owner"], "'hf://owner' is no address of a file"),
        (["{tmp}/a.pth", "--overwrite"], "'--overwrite'"),
    ],
)
def test_what_can_be_refused_is_refused_before_anything_is_written(tmp_path, capsys, words, said):
    (tmp_path / "sub").mkdir()
    (tmp_path / "c.safetensors").mkdir()
    for name in ("a.pth", "b.pth", "c.pth", "sub/a.pth", "x=y.pth"):
        save(tmp_path / name, TENSORS)
    safetensors(tmp_path / "b.safetensors")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert main(["convert", *(word.format(tmp=tmp_path) for word in words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert said in captured.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_bad_file_among_good_ones_stops_and_leaves_the_finished_whole(tmp_path, capsys):
    good, later = (str(save(tmp_path / name, TENSORS)) for name in ("good.pth", "later.pth"))
    make, said = BAD["flipped payload"]
    bad = str(make(tmp_path / "bad.pth"))
    assert main(["convert", good, bad, later]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.splitlines()) == len(captured.out.splitlines()) == 1
    assert same(read_weights(tmp_path / "good.safetensors").tensors, TENSORS)
    assert {path.name for path in tmp_path.iterdir()} == {
        "good.pth",
        "good.safetensors",
        "bad.pth",
        "later.pth",
    }
