"""The library from Python: distil, load, sample, export."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import ardistill
from ardistill.__main__ import main
from ardistill.errors import ConfigError, RunFolderError
from ardistill.noise import Draw
from ardistill.protocols import Student
from ardistill.weights import read_weights

SMALL = {
    "threads": 1,
    "method.n_pairs": 64,
    "method.images": 64,
    "method.batch": 16,
    "method.starts": (0, 1),
    "eval": {"n": 50, "batch": 50, "steps": ("1",), "speed.repeats": 0},
}
WORDS = [
    *("method=dd1", "teacher=var", "threads=1", "method.n_pairs=64", "method.images=64", "method.batch=16"),
    *("method.starts=0,1", "eval.n=50", "eval.batch=50", "eval.steps=1", "eval.speed.repeats=0"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return ardistill.distill("dd1", "var", out=tmp_path_factory.mktemp("python") / "run", **SMALL)


def test_distill_is_the_command_line(made, tmp_path):
    assert main(["run", *WORDS, f"out={tmp_path / 'run'}"]) == 0
    ours = read_weights(made.folder / "student.safetensors").tensors
    theirs = read_weights(tmp_path / "run" / "student.safetensors").tensors
    assert all(ours[key].equal(value) for key, value in theirs.items())
    assert made.report.rows[0].name == "teacher"
    assert (made.folder / "report.html").is_file()


def test_a_finished_run_is_read_and_another_configuration_is_refused(made):
    before = (made.folder / "report.json").stat().st_mtime_ns
    again = ardistill.distill("dd1", "var", out=made.folder, **SMALL)
    assert again.report == made.report
    assert (made.folder / "report.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="holds a run of another configuration; give another out"):
        ardistill.distill("dd1", "var", out=made.folder, **{**SMALL, "seed": 1})
    with pytest.raises(ConfigError, match=r"unknown key method\.imags"):
        ardistill.distill("dd1", "var", **{"method.imags": 3})
    with pytest.raises(ConfigError, match="launcher=slurm is for the command line"):
        ardistill.distill("dd1", "var", launcher="slurm")


def test_samples_are_those_of_the_command_line(made, tmp_path):
    images_N3HW = made.student.sample([3, 1, 4], passes=1, seed=7)
    assert (images_N3HW.shape, images_N3HW.dtype) == ((3, 3, 16, 16), torch.uint8)
    out = tmp_path / "images.npz"
    words = ["classes=3,1,4", "n=3", "steps=1", "seed=7", f"out={out}"]
    assert main(["sample", f"run={made.folder}", *words]) == 0
    theirs_NHW3 = np.load(out)["arr_0"]
    assert np.abs(images_N3HW.permute(0, 2, 3, 1).numpy().astype(int) - theirs_NHW3.astype(int)).max() <= 1
    pictures = made.student.sample([3, 1, 4], seed=7, pil=True)
    assert [np.array(picture).tolist() for picture in pictures] == images_N3HW.permute(0, 2, 3, 1).tolist()


def test_samples_depend_on_seed_index_and_class_alone(made):
    student = ardistill.load_student(made.folder)
    assert isinstance(student, Student)
    images = student.sample(n=6, batch=4)
    assert torch.equal(images, made.student.sample([0, 1, 2, 3, 4, 5]))
    assert len(student.sample()) == 10
    assert torch.equal(student.sample(5, n=2)[0], student.sample([5])[0])
    assert not torch.equal(student.sample(5, seed=1), student.sample(5))
    assert not torch.equal(student.sample(5, passes=2), student.sample(5))
    again = ardistill.load_student(made.folder / "student.safetensors", ardistill.load_teacher("var"))
    assert torch.equal(again.sample(n=2), images[:2])


def test_what_is_not_there_is_one_sentence(made, tmp_path):
    with pytest.raises(ConfigError, match="classes=10 is not a class of this teacher"):
        made.student.sample([10])
    with pytest.raises(ConfigError, match="steps=9 is not possible here"):
        made.student.sample([1], passes=9)
    with pytest.raises(ConfigError, match="n and batch must be at least"):
        made.student.sample(n=0)
    with pytest.raises(RunFolderError, match="is not a run folder"):
        ardistill.load_student(tmp_path)
    with pytest.raises(
        ConfigError, match=r"needs the teacher itself, not its name; give load_teacher\('var'\)"
    ):
        ardistill.load_student(made.folder / "student.safetensors", "var")
    with pytest.raises(ConfigError, match=r"must end in \.pt2 or \.onnx"):
        made.student.export(tmp_path / "x.bin")
    with pytest.raises(ConfigError, match="lets the teacher draw"):
        made.student.export(tmp_path / "x.pt2", passes="pre-trained-2-5")
    with pytest.raises(ConfigError, match="lies in a folder that is not there"):
        made.student.export(tmp_path / "no" / "x.pt2")
    assert list(tmp_path.iterdir()) == []


ALONE = """
import sys
sys.modules["ardistill"] = None  # whoever imports it fails
import torch
program = torch.export.load(sys.argv[1]).module()
given = torch.load(sys.argv[2], weights_only=True)
made = [program(noise, labels) for noise, labels in given]
torch.save(made, sys.argv[3])
"""


@pytest.mark.parametrize("passes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_exported_student_runs_without_ardistill_at_any_batch(made, tmp_path, passes):
    path = made.student.export(tmp_path / "student.pt2", passes=passes)
    assert list(tmp_path.iterdir()) == [path]
    teacher = made.student.teacher
    shape = teacher.layout.n_tokens, teacher.tokenizer.codebook.shape[1]
    draws = [Draw(0, "sample", 0, count) for count in (1, 5)]
    torch.save([(draw.normal("noise", *shape), draw.indices()) for draw in draws], tmp_path / "given.pt")
    command = [sys.executable, "-c", ALONE, str(path), str(tmp_path / "given.pt"), str(tmp_path / "made.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for images_BCHW in torch.load(tmp_path / "made.pt", weights_only=True):
        ours = made.student.sample(n=len(images_BCHW), passes=passes)
        theirs = ((images_BCHW + 1) * 127.5).round().to(torch.uint8)
        assert (ours.int() - theirs.int()).abs().max() <= 1


@pytest.mark.slow
def test_an_exported_student_runs_in_onnx_at_any_batch(made, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime has no wheel for this Python")
    path = made.student.export(tmp_path / "student.onnx")
    assert list(tmp_path.iterdir()) == [path]
    session = onnxruntime.InferenceSession(path)
    teacher = made.student.teacher
    for count in (1, 5):
        draw = Draw(0, "sample", 0, count)
        noise_BLC = draw.normal("noise", teacher.layout.n_tokens, teacher.tokenizer.codebook.shape[1])
        given = {"noise": noise_BLC.numpy(), "labels": draw.indices().numpy()}
        (images_BCHW,) = session.run(None, given)
        theirs = np.round((images_BCHW + 1) * 127.5).astype(int)
        # The program may add in another order, so that a token close to two codes may fall to the other.
        assert (np.abs(theirs - made.student.sample(n=count).numpy()) > 1).mean() < 0.05
