"""The command line under the real torchrun, on the CPU: DD1 and DD2 on the digits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ardistill.__main__ import main
from ardistill.weights import read_weights
from tests.training.processes import torchrun

pytestmark = pytest.mark.processes

EVAL = ["threads=1", "teacher=var", "eval.n=50", "eval.batch=50", "eval.steps=1", "eval.speed.repeats=0"]
RUNS = {
    "dd1": [
        "method=dd1",
        *EVAL,
        "method.n_pairs=64",
        "method.images=128",
        "method.batch=16",
        "checkpoint.every=48",
    ],
    "dd2": [
        "method=dd2",
        *EVAL,
        "method.tuning_samples=64",
        "method.tune_head_images=32",
        "method.tune_images=64",
        "method.tune_batch=16",
        "method.guidance_images=32",
        "method.csd_images=96",
        "method.align_guidance_images=16",
        "method.align_images=48",
        "method.batch=16",
        "checkpoint.every=40",
        "eval.every=150",
        "eval.every_n=50",
    ],
}


def student(folder):
    return read_weights(folder / "student.safetensors").tensors


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-3, atol=5e-5)


@pytest.fixture(scope="module", params=sorted(RUNS))
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "run"
    assert main(["run", *RUNS[request.param], f"out={folder}"]) == 0
    return RUNS[request.param], folder


def test_two_processes_make_the_student_of_one(run, tmp_path):
    words, whole = run
    code, said = torchrun(2, ["run", *words, f"out={tmp_path / 'two'}"])
    assert code == 0, said
    close(student(tmp_path / "two"), student(whole))
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {path.name for path in whole.iterdir()}


def test_a_batch_that_two_do_not_share_is_refused_before_anything_is_made(run, tmp_path):
    words = [word for word in run[0] if not word.startswith("method.batch=")]
    code, said = torchrun(2, ["run", *words, "method.batch=15", f"out={tmp_path / 'odd'}"])
    assert code != 0
    assert "is 15 images, and 2 processes can't take equal shares of it" in said
    assert not (tmp_path / "odd").exists()


def children(pid):
    found = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


@pytest.mark.parametrize(("number", "rank"), [(signal.SIGTERM, 1), (signal.SIGKILL, 1), (signal.SIGKILL, 0)])
def test_what_happens_to_one_process_ends_both_and_one_goes_on(run, tmp_path, number, rank):
    words, whole = run
    out = tmp_path / "cut"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--standalone",
        "-m",
        "ardistill",
    ]
    process = subprocess.Popen(
        [*command, "run", *words, f"out={out}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not any((out / "checkpoints").glob("0*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(children(process.pid)[rank], number)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert not Path(out / "report.json").exists(), "it was quicker than the signal"
    assert ("stopped by SIGTERM at image" in said) == (number == signal.SIGTERM)
    assert main(["run", f"resume={out}"]) == 0
    close(student(out), student(whole))


def test_a_run_stopped_by_ctrl_c_ends_with_the_same_bits(run, tmp_path):
    words, whole = run
    out = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "ardistill", "run", *words, f"out={out}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not any((out / "checkpoints").glob("0*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75
    assert f"go on with: python -m ardistill run resume={out}" in said.splitlines()[-1]
    assert main(["run", f"resume={out}"]) == 0
    ours, theirs = student(out), student(whole)
    assert all(ours[key].equal(value) for key, value in theirs.items())
