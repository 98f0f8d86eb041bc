"""Runs as jobs of a real Slurm: whatever happens to the job, they end with the bits of one that nobody disturbed."""

import os
import signal
from pathlib import Path

import pytest
import torch

from ardistill.__main__ import main
from ardistill.launch.lock import holder
from ardistill.weights import read_weights
from tests.slurm.handed import TINY, ends, hand_over, images, log, same_end, state, still, wait_for

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody disturbs, in this process."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(["run", *TINY, f"out={folder}"]) == 0
    return folder


def set_node(cluster, word):
    words = ["state=" + word, *(["reason=test"] if word != "resume" else [])]
    cluster.run("scontrol", "update", "nodename=localhost", *words)


def restarts(cluster, job):
    return int(cluster.jobs(job)[0]["Restarts"])


def task_of(out):
    """The process of a run's task, once it is Python."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[1:4] == [b"-u", b"-m", b"submitit.core._submit"] and words[4] == bytes(out / "launch"):
            return int(process.name)
    return None


def test_two_tasks_told_of_the_end_go_on_and_make_the_student_of_one(inside, whole, tmp_path):
    out = tmp_path / "two"
    job = hand_over(out, "launcher.tasks=2")
    with still(out):
        inside.run("scancel", "--signal=USR2", job)
    ends(out)
    inside.wait(job, "COMPLETED")
    assert restarts(inside, job) == 1
    ours, theirs = (read_weights(folder / "student.safetensors").tensors for folder in (out, whole))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=5e-5)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()} | {
        "launch",
        "launch.json",
    }


def test_signals_at_the_start_and_in_training_requeue_and_cost_no_bit(inside, whole, tmp_path):
    """SIGUSR2 by hand, as Slurm sends it ahead of the time limit, which it counts in minutes."""
    out = tmp_path / "run"
    job = hand_over(out)
    os.kill(wait_for(lambda: task_of(out)), signal.SIGUSR2)  # before Python has come to its handlers
    wait_for(lambda: restarts(inside, job) == 1)
    with still(out):
        inside.run("scancel", "--signal=USR2", job)
    ends(out)
    assert restarts(inside, job) == 2
    assert same_end(whole, out)


def test_a_job_out_of_time_is_requeued_and_ends_as_a_whole_run(inside, whole, tmp_path):
    """By Slurm's own clock: a process that stands still in training meets its time limit."""
    out = tmp_path / "run"
    job = hand_over(out, "launcher.time=1m", "launcher.notice=20")
    with still(out):  # until Slurm's signal, which sets it going
        wait_for(lambda: "stopped by SIGUSR2 at image" in log(out), seconds=60)
    wait_for(lambda: state(out).word == "waiting")
    assert f"stopped by SIGUSR2 at image {images(out)};" in log(out), "all that was done is saved"
    ends(out)
    assert restarts(inside, job) >= 1
    assert same_end(whole, out)


def test_a_cancelled_run_is_called_so_and_goes_on(inside, whole, tmp_path, capsys):
    out = tmp_path / "run"
    job = hand_over(out)
    with still(out):
        inside.run("scancel", job)
    wait_for(lambda: state(out).word == "cancelled")
    assert f"stopped by SIGTERM at image {images(out)};" in log(out), "all that was done is saved"
    inside.wait(job, "CANCELLED")
    assert restarts(inside, job) == 0
    assert holder(out) is None
    assert main(["sweep", "status", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path}: 1 cancelled"
    assert main(["run", f"resume={out}"]) == 0
    assert same_end(whole, out)


def test_a_job_that_does_not_come_to_its_work_is_known_by_its_last_words(inside, tmp_path):
    out = tmp_path / "run"
    hand_over(out, "launcher.setup=export PYTHONHOME=/nowhere")
    wait_for(lambda: state(out).word == "failed")
    assert "ended: failed, NonZeroExitCode; its last words: " in state(out).note
    assert "srun" not in state(out).note


def test_a_drained_node_lets_a_run_end_and_one_that_goes_down_gives_it_back(inside, whole, tmp_path, capsys):
    out = tmp_path / "run"
    job = hand_over(out)
    with still(out):
        before = images(out)
        set_node(inside, "drain")
    with still(out, beyond=before + 16):  # draining ends nothing
        assert inside.node() == "draining"
        set_node(inside, "down")
        wait_for(lambda: state(out).word == "waiting")
    assert main(["sweep", "status", str(out)]) == 0
    row, _ = capsys.readouterr().out.splitlines()[-2:]
    assert "waiting" in row
    assert "pending: " in row
    set_node(inside, "resume")
    wait_for(lambda: state(out).word == "running")
    set_node(inside, "drain")
    ends(out)
    assert restarts(inside, job) == 1
    wait_for(lambda: inside.node() == "drained")
    assert same_end(whole, out)


def test_a_run_preempted_by_either_signal_is_requeued_and_ends_as_a_whole_one(inside, whole, tmp_path):
    """Slurm tells of pre-emption by the signal that was asked for, or by SIGTERM where it is not set up for that."""
    out = tmp_path / "run"
    hand_over(out, "launcher.cpus=8")
    with still(out):
        preempt(inside)
    wait_for(lambda: state(out).word == "waiting")
    assert f"stopped by SIGUSR2 at image {images(out)};" in log(out)
    with inside.without("SlurmctldParameters=preempt_send_user_signal"):
        with still(out, beyond=images(out)):
            preempt(inside)
        wait_for(lambda: state(out).word == "waiting")
    assert f"stopped by SIGTERM at image {images(out)};" in log(out)
    ends(out)
    assert same_end(whole, out)


def preempt(cluster):
    cluster.submit("--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=true")


def test_a_job_that_preemption_ends_for_good_is_not_waited_for(inside, tmp_path):
    out = tmp_path / "run"
    partition = ("scontrol", "update", "partitionname=main")
    inside.run(*partition, "preemptmode=cancel", "gracetime=0")
    try:
        job = hand_over(
            out, "launcher.cpus=8", "launcher.setup=sleep 600"
        )  # no Python that would ask for another life
        inside.wait(job, "RUNNING")
        preempt(inside)
        wait_for(lambda: state(out).word == "failed")
        assert "ended: preempted" in state(out).note
    finally:
        inside.run(*partition, "preemptmode=requeue", "gracetime=10")
