"""Jobs for real, through submitit's executor for this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ardistill_submitit.config import LocalConfig
from ardistill_submitit.executing import has_ended
from ardistill_submitit.local import Local

from ardistill.__main__ import main
from ardistill.launch.lock import holder
from ardistill.launch.remote.state import states
from ardistill.weights import read_weights
from tests.launch.work import Tell

ROOT = Path(__file__).parents[2]
# submitit leaves its watching process to itself
left_alone = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)

TINY = [
    "method=dd1",
    "teacher=var",
    "threads=1",
    "method.n_pairs=60",
    "method.images=192",
    "method.batch=16",
    "method.warmup_images=16",
    "eval.n=60",
    "eval.batch=60",
    "eval.steps=1",
    "eval.speed.repeats=0",
    "checkpoint.every=16",
]


def wait_for(happens, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)
    return found


def handed_over(*words):
    command = [sys.executable, "-m", "ardistill", *words]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # so that nobody has to count GPUs, which takes torch
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout, done.stderr


def same_student(one, other):
    a, b = (read_weights(folder / "student.safetensors").tensors for folder in (one, other))
    return a.keys() == b.keys() and all(a[key].equal(b[key]) for key in a)


@left_alone
def test_tasks_meet_in_the_environment_after_the_setup(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("RANK", "7")  # of whoever submits
    asked = LocalConfig(tasks=2, time=1, setup="A='ex, y'\nexport GREETING=\"$A\"")
    launcher = Local(asked)
    (job,) = launcher.submit([Tell(tmp_path)], tmp_path / "logs", "tell")
    assert launcher.states([job])[0].word == "running"
    files = wait_for(lambda: len(found := sorted(tmp_path.glob("?.json"))) == 2 and found)
    wait_for(lambda: has_ended(job) and launcher.states([job])[0].word == "ended")
    one, other = (json.loads(file.read_text()) for file in files)
    assert (one.pop("RANK"), other.pop("RANK")) == ("0", "1")
    assert (one.pop("LOCAL_RANK"), other.pop("LOCAL_RANK")) == ("0", "1")
    assert one == other
    assert one["WORLD_SIZE"] == one["LOCAL_WORLD_SIZE"] == "2"
    assert one["MASTER_ADDR"] == "127.0.0.1"
    assert one["GREETING"] == "ex, y"


@left_alone
def test_so_many_jobs_of_this_machine_run_at_once_as_were_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()

    def earlier(parallel):
        """How the jobs before stand whenever one more is handed over."""
        launcher, jobs, seen = Local(LocalConfig(parallel=parallel, time=1)), [], []
        for job in launcher.submit([Tell(folder) for folder in folders], tmp_path / "logs", "tell"):
            seen.append([state.word for state in launcher.states(jobs)])
            jobs.append(job)
        wait_for(lambda: {state.word for state in launcher.states(jobs)} == {"ended"})
        return seen

    assert earlier(1) == [[], ["ended"], ["ended"] * 2]
    assert earlier(0)[2] != ["ended"] * 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(["run", *TINY, f"out={folder}"]) == 0
    return folder


@pytest.mark.processes
def test_a_job_told_of_its_end_is_requeued_and_ends_as_a_whole_run(whole, tmp_path):
    out = tmp_path / "run"
    code, told, error = handed_over(
        "run", *TINY, f"out={out}", "launcher=local", "launcher.time=5", "launcher.check=false"
    )
    assert code == 0, error
    assert told.splitlines()[0] == str(out)
    wait_for(lambda: any(out.glob("checkpoints/0*")))
    first = wait_for(lambda: holder(out)).pid
    os.kill(first, signal.SIGUSR2)
    second = wait_for(lambda: (held := holder(out)) and held.pid != first and held).pid
    assert second != first, "the job went on in the process that was told to leave"
    (stands,) = states([out])
    assert (stands.word, stands.age is None) == ("running", False)
    wait_for(lambda: states([out])[0].word == "finished")
    assert same_student(whole, out)
    (log,) = out.glob("launch/*_log.err")
    assert "timed-out" in log.read_text()
    # nothing is left to do, and nothing is handed over again
    assert main(["run", f"resume={out}", "launcher=local"]) == 0


@pytest.mark.processes
def test_a_job_that_runs_out_of_time_goes_on_until_it_is_done(tmp_path):
    """By the clock: submitit's watching process sends the signal and starts the job again, up to six times."""
    words = [word for word in TINY if not word.startswith(("method.images", "checkpoint.every"))]
    words += ["method.images=9600", "checkpoint.every=64"]
    began = time.monotonic()
    assert main(["run", *words, f"out={tmp_path / 'whole'}"]) == 0
    seconds = int((time.monotonic() - began) / 2) + 20  # to start and to be told takes some of it
    out = tmp_path / "run"
    limits = [f"launcher.time={seconds}s", "launcher.notice=10", "launcher.wait=true"]
    code, _, error = handed_over("run", *words, f"out={out}", "launcher=local", *limits)
    assert code == 0, error
    (log,) = out.glob("launch/*_log.err")
    assert log.read_text().count("this job is timed-out") >= 1
    assert same_student(tmp_path / "whole", out)


@pytest.mark.processes
def test_a_job_that_fails_says_why_where_it_is_waited_for(tmp_path):
    out = tmp_path / "run"
    words = ["method=onestep*", "teacher=var", "threads=1", "method.samples=60", "eval.n=60", "eval.batch=60"]
    asked = ["launcher=local", "launcher.wait=true", "launcher.check=false"]
    code, _, error = handed_over(
        "run", *words, f"teacher.checkpoint={tmp_path}/gone.pth", f"out={out}", *asked
    )
    assert code == 3
    said = error.splitlines()[-1]
    assert said.startswith(f"ardistill: {out}: failed (")
    assert "gone.pth" in said
    assert f"go on with: run resume={out} launcher=local" in said


def test_what_can_be_refused_is_refused_before_anything_is_handed_over(tmp_path, capsys):
    out = tmp_path / "run"
    assert (
        main(["run", *TINY, f"teacher.checkpoint={tmp_path}/gone.pth", f"out={out}", "launcher=local"]) == 2
    )
    assert "gone.pth" in capsys.readouterr().err
    assert not out.exists()


def test_a_run_that_is_under_way_is_not_handed_over_again(whole, tmp_path, capsys):
    from ardistill.launch.lock import locked

    out = tmp_path / "run"
    out.mkdir()
    (out / "config.toml").write_text((whole / "config.toml").read_text())
    with locked(out):
        assert main(["run", f"resume={out}", "launcher=local"]) == 3
    assert f"is running already (process {os.getpid()} on" in capsys.readouterr().err
    assert main(["run", f"resume={out}", "seed=3"]) == 2
    assert "no other words but the launcher's" in capsys.readouterr().err
