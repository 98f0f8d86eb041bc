"""DD1 through the command line, small enough for every change."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torchvision

import ardistill
from ardistill.__main__ import main
from ardistill.evaluation.report import Report
from ardistill.protocols import Jumps
from ardistill.weights import read_weights, write_weights

TINY = [
    "method=dd1",
    "threads=1",
    "method.n_pairs=120",
    "method.images=192",
    "method.batch=16",
    "method.warmup_images=16",
    "eval.n=100",
    "eval.batch=100",
    "checkpoint.every=48",
]


@pytest.fixture(scope="module", params=["var", "llamagen"])
def run(request, tmp_path_factory):
    """A finished run of either teacher."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    assert main(["run", *TINY, f"teacher={request.param}", f"out={folder}"]) == 0
    return request.param, folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """VAR's pairs of seed 0, as `collect` leaves them."""
    folder = tmp_path_factory.mktemp("pairs") / "var"
    assert main(["collect", "teacher=var", "n=120", f"out={folder}"]) == 0
    return folder


def student_of(folder):
    return read_weights(folder / "student.safetensors").tensors


def same(one, other):
    a, b = student_of(one), student_of(other)
    return a.keys() == b.keys() and all(a[key].equal(b[key]) for key in a)


def test_the_report_and_the_students_keys(run):
    name, folder = run
    report = Report.load(folder / "report.json")
    passes = {row.name: row.passes for row in report.rows if row.name.startswith("dd1")}
    assert passes == {"dd1, 1 pass": 1, "dd1, 2 passes": 2}
    assert report.throughput["train"] > 0
    teacher = ardistill.load_teacher(name)
    # The layout of the released students, which tests/var and tests/llamagen hold against recorded key lists.
    official = teacher.jumper(Jumps(), seed=0).state_dict()
    assert {key: value.shape for key, value in student_of(folder).items()} == {
        key: value.shape for key, value in official.items()
    }
    assert read_weights(folder / "student.safetensors").about["offer"] == f"{name}-dd1"


def test_the_trained_student_is_read_as_a_published_one(run, tmp_path):
    """Without our words about it, the file is what the release's loader takes."""
    name, folder = run
    bare = tmp_path / "bare.safetensors"
    write_weights(bare, student_of(folder), {})
    teacher = ardistill.load_teacher(name)
    ours = ardistill.load_student(folder / "student.safetensors", teacher)
    theirs = ardistill.load_student(f"{name}-dd1", teacher, checkpoint=bare, split=ours.jumps[0].split)
    images, _ = ardistill.draw(teacher, ours, n=4)
    again, _ = ardistill.draw(teacher, theirs, n=4)
    assert images.equal(again)


@pytest.mark.parametrize("steps", ["1", "2", "pre-trained-1-K", "pre-trained-2-S"])
def test_samples_by_any_schedule_from_one_seed(run, steps, tmp_path):
    name, folder = run
    start = json.loads((folder / "report.json").read_text())["rows"]
    assert start
    n_steps, second = (4, 1) if name == "var" else (16, 5)
    steps = steps.replace("K", str(n_steps + 1)).replace("S", str(second + 1))
    if steps == "pre-trained-2-2":
        steps = "pre-trained-1-2"
    drawn = []
    for file in ("a.npz", "b.npz"):
        words = [f"run={folder}", f"steps={steps}", "n=6", "seed=3", "batch=4", f"out={tmp_path / file}"]
        assert main(["sample", *words]) == 0
        drawn.append(np.load(tmp_path / file)["arr_0"])
    assert np.array_equal(*drawn)
    assert drawn[0].shape == (6, 16, 16, 3)
    assert len({image.tobytes() for image in drawn[0]}) == 6


def test_pairs_of_collect_give_the_student_of_a_run_that_collects(run, pairs, tmp_path):
    name, folder = run
    if name == "llamagen":
        return
    assert main(["run", *TINY, "teacher=var", f"method.pairs={pairs}", f"out={tmp_path / 'disk'}"]) == 0
    assert main(["run", *TINY, "teacher=var", "method.stream=true", f"out={tmp_path / 'stream'}"]) == 0
    assert same(folder, tmp_path / "disk")
    assert same(folder, tmp_path / "stream")
    assert not (tmp_path / "disk" / "pairs").exists()


def test_a_killed_run_ends_as_a_whole_one(run, tmp_path):
    name, folder = run
    out = tmp_path / "killed"
    words = [sys.executable, "-m", "ardistill", "run", *TINY, f"teacher={name}", f"out={out}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any((out / "checkpoints").glob("0*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "report.json").exists(), "it was quicker than the kill"
    assert main(["run", f"resume={out}"]) == 0
    assert same(folder, out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["method.starts=0,4"],
            "starts=0,4 with split=4 is beyond this student's 4 scales, which count from 0",
        ),
        (["method.starts=1,2"], "starts=1,2 must begin with 0 and increase"),
        (["method.split=9"], "split=9 is beyond this student's 4 scales"),
        (["method.trajectory.solver=rk4"], "solver"),
        (["method.trajectory.evaluations=0"], "evaluations"),
        (["method.lpips.net=vgg"], "vgg16-397923af.pth"),
        (["method.stream=true", "method.pairs=/nowhere"], "leave out stream or pairs=DIR"),
        (["method.ce=0", "method.lpips.weight=0"], "nothing to learn"),
        (["method.pairs=/nowhere"], "/nowhere holds no pairs"),
        (["method.init=/nowhere.pth"], "/nowhere.pth"),
        (["method.recipes=pre-trained-2-9:1"], "pre-trained-2-9"),
    ],
)
def test_bad_input_is_one_sentence(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    out = tmp_path / "out"
    assert main(["run", *TINY, "teacher=var", *words, f"out={out}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert len(error) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["teacher=var", "teacher.cfg=1.5"], "guidance"),
        (["teacher=var", "teacher.top_k=9"], "guidance"),
        (["teacher=llamagen"], "teacher"),
    ],
)
def test_another_teachers_pairs_are_refused_with_what_differs(words, said, pairs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", *TINY, *words, f"method.pairs={pairs}", f"out={out}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert "were made otherwise" in error[-1]
    assert said in error[-1]
    assert len(error) == 1
    assert not out.exists()


def test_too_few_pairs(pairs, tmp_path, capsys):
    tiny = [word for word in TINY if not word.startswith("method.n_pairs")]
    words = [*tiny, "teacher=var", "method.n_pairs=5000", f"method.pairs={pairs}", f"out={tmp_path / 'out'}"]
    assert main(["run", *words]) == 2
    assert "holds 120 pairs, and method.n_pairs=5000" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_network_too_large_for_the_images_is_refused_at_once(tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "alexnet.pth"
    torch.save(torchvision.models.alexnet(weights=None).features.state_dict(prefix="features."), weights)
    words = ["method.lpips.net=alex", f"method.lpips.weights={weights}", f"out={tmp_path / 'out'}"]
    assert main(["run", *TINY, "teacher=var", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "31" in line
    assert not (tmp_path / "out").exists()
