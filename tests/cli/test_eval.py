"""Judging by other references, networks and protocols, through the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ardistill_digits.data import HOME, Digits
from ardistill_digits.features import load_features
from PIL import Image

from ardistill.__main__ import main
from ardistill.evaluation.extraction import features_of, to_uint8
from ardistill.evaluation.report import Report
from ardistill.noise import Draw

WEIGHTS = HOME / "weights"
SMALL = ["n=60", "speed.repeats=0", "baselines="]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a baseline: nothing is trained."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["threads=1", "method.samples=60", "eval.n=60", "eval.batch=60", "eval.speed.repeats=0"]
    assert main(["run", "method=onestep*", "teacher=var", *words, f"out={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def real():
    """(120, 3, 16, 16) digits, and the features in which they are judged."""
    draw = Draw(0, "real", 0, 120)
    images, labels = Digits().images("train", draw, draw.indices() % 10)
    return images, labels, features_of(load_features(Digits().weights), images)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No asset is anywhere, and what is cached goes to a folder of this test."""
    monkeypatch.setenv("ARDISTILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def evaluated(run: Path, out: Path, *words: str) -> Report:
    assert main(["eval", f"run={run}", *SMALL, *words, f"out={out}"]) == 0
    return Report.load(out)


def test_a_file_of_statistics_in_adms_layout(run, real, nowhere):
    images, _, features = real
    statistics = features.statistics
    np.savez(
        nowhere / "adm.npz",
        arr_0=to_uint8(images).permute(0, 2, 3, 1).numpy(),
        mu=statistics.mean_F.numpy(),
        sigma=statistics.covariance_FF.numpy(),
    )
    words = ["protocol=adm", "features=digits", f"reference={nowhere / 'adm.npz'}"]
    report = evaluated(run, nowhere / "adm.json", *words)
    told = report.protocol
    assert (told.name, told.n, told.labels) == ("adm, but n, features, reference", 60, "balanced")
    assert told.reference_images == 120
    assert told.reference_n is None  # how many images its statistics are of, the file does not tell
    assert "adm.npz" in told.reference
    assert len(told.reference_sha256) == 64
    for row in report.rows:
        assert row.fid > 0
        assert None not in (row.kid, row.precision, row.recall)
    assert report.row("teacher").fid < report.row("onestep*").fid
    bare = nowhere / "pytorch-fid.npz"
    np.savez(bare, mu=statistics.mean_F.numpy(), sigma=statistics.covariance_FF.numpy())
    alone = evaluated(run, nowhere / "bare.json", "features=digits", f"reference={bare}")
    for one, other in zip(report.rows, alone.rows, strict=True):
        assert one.fid == pytest.approx(other.fid, rel=1e-6)
        assert (other.kid, other.precision, other.recall) == (None, None, None)


def folder_of(images: torch.Tensor, labels: torch.Tensor, path: Path) -> Path:
    for index, image in enumerate(to_uint8(images).permute(0, 2, 3, 1).numpy()):
        place = path / str(int(labels[index]))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index}.png")
    return path


def test_a_folder_of_images_gives_what_its_statistics_give(run, real, nowhere):
    images, labels, features = real
    folder = folder_of(images, labels, nowhere / "images")
    report = evaluated(run, nowhere / "folder.json", f"reference={folder}")
    np.savez(nowhere / "s.npz", mu=features.statistics.mean_F, sigma=features.statistics.covariance_FF)
    statistics = evaluated(run, nowhere / "s.json", f"reference={nowhere / 's.npz'}")
    assert report.rows[0].fid == pytest.approx(statistics.rows[0].fid, rel=1e-5)
    assert report.protocol.reference_n == 120
    cached = list((nowhere / "home").rglob("*.safetensors"))
    assert len(cached) == 1
    again = evaluated(run, nowhere / "again.json", f"reference={folder}")
    assert [row.fid for row in again.rows] == [row.fid for row in report.rows]
    Image.new("RGB", (16, 16)).save(folder / "0" / "another.png")
    other = evaluated(run, nowhere / "other.json", f"reference={folder}")
    assert other.protocol.reference_sha256 != report.protocol.reference_sha256


def test_a_folder_of_images_as_data(run, real, nowhere):
    images, labels, _ = real
    folder = folder_of(images, labels, nowhere / "images")
    words = [
        f"student.checkpoint={run / 'student.safetensors'}",
        f"teacher.checkpoint={WEIGHTS / 'var-teacher.safetensors'}",
        f"teacher.tokenizer.checkpoint={WEIGHTS / 'var-tokenizer.safetensors'}",
        "data=folder",
        f"data.path={folder}",
        "data.size=16",
        "data.features=digits",
        f"weights={WEIGHTS / 'features.safetensors'}",
    ]
    out = nowhere / "data.json"
    assert main(["eval", "teacher=var", "student=onestep*", *words, *SMALL, f"out={out}"]) == 0
    report = Report.load(out)
    told = report.protocol
    assert (told.reference, told.reference_n) == (f"folder {folder}", 120)
    assert "16x16" in told.resize
    assert report.floor is None
    held_out = folder_of(images[:60], labels[:60], nowhere / "held_out")
    out = nowhere / "both.json"
    words = [*words, f"data.held_out={held_out}", f"out={out}"]
    assert main(["eval", "teacher=var", "student=onestep*", *words, *SMALL]) == 0
    both = Report.load(out)
    assert [row.fid for row in both.rows] == [row.fid for row in report.rows]
    assert both.protocol.held_out.endswith("60 images")
    assert both.floor > 0
    assert both.rows[0].fid == evaluated(run, nowhere / "same.json", f"reference={folder}").rows[0].fid
    assert report.row("teacher").accuracy > 0.8
    assert report.rows[0].fid_test is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["features=inception"],
            ["weights-inception-2015-12-05-6726825d.pth", "fetch inception", "eval.weights=PATH"],
        ),
        (["protocol=adm"], ["fetch inception"]),
        (["protocol=adm", "features=digits"], ["VIRTUAL_imagenet256_labeled.npz", "eval.reference=PATH"]),
        (["protocol=amd"], ["did you mean adm"]),
        (["reference={tmp}/nothing"], ["nothing"]),
        (["features=inceptoin"], ["did you mean inception"]),
        (["features=in ception"], ["feature network"]),
        (["n=20"], ["at least 49"]),
        (["ppl.n=5", "ppl.net=vgg"], ["vgg16-397923af.pth", "eval.ppl.weights=PATH"]),
        (["labels=all"], ["balanced"]),
        (["speed.batches=8,1"], ["larger than the last"]),
    ],
)
def test_what_lacks_is_one_sentence(run, nowhere, capsys, words, said):
    words = [word.format(tmp=nowhere) for word in words]
    given = [word for word in SMALL if word.split("=")[0] not in {w.split("=")[0] for w in words}]
    assert main(["eval", f"run={run}", *given, *words, f"out={nowhere / 'x.json'}"]) == 2
    printed = capsys.readouterr()
    error = printed.err.strip().splitlines()[-1]
    for part in said:
        assert part in error
    assert "Traceback" not in printed.err
    assert not (nowhere / "x.json").exists()
