"""What this project relies on in Slurm, and in submitit on Slurm, shown on a real one.

Slurm looks at time limits every 30 seconds, and sends the signal when less than its lead and another 30 seconds are
left. A job of a minute, the least there is, that asks for it 20 seconds ahead gets it 10 to 40 seconds after its start:
no sooner, since before Python is up and has its handlers the signal kills.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import submitit

from tests.slurm.cluster import Cluster, ClusterError, lacking, processes
from tests.slurm.jobs import Outlasting, rank, square

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("started")]

ROOT = Path(__file__).parents[2]

# a task that meets the others: it goes on when so many files lie in the folder
MEET = 'touch here$SLURM_ARRAY_TASK_ID-$SLURM_PROCID; until [ "$(ls | wc -l)" -ge {} ]; do sleep .05; done'

# a first life that has itself requeued when it is signalled, and a second one that ends
REQUEUED = """#!/bin/bash
[ "$SLURM_RESTART_COUNT" ] && exit 0
trap 'echo signalled >> signals; scontrol requeue $SLURM_JOB_ID; exit 1' USR2
touch ready
while true; do sleep .05; done
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def requeued(cluster, folder, *words):
    """Submits REQUEUED as a step, since only steps are signalled."""
    script = folder.parent / "requeued.sh"
    script.write_text(REQUEUED)
    words = (f"--chdir={folder}", "--output=/dev/null", "--signal=USR2@20", *words)
    return cluster.submit(*words, f"--wrap=srun --output=/dev/null bash {script}")


def meet(file, seconds=30):
    """Waits until a job has made a file."""
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} was not made within {seconds} s"
        time.sleep(0.05)


def alive(pids):
    """Those that are not mere zombies, whom only their parent can bury."""
    asked = subprocess.run(
        ["ps", "-o", "pid=,stat=", *map(str, pids)], capture_output=True, text=True, check=False
    )
    return [line for line in asked.stdout.splitlines() if line.split()[1][0] != "Z"]


def executor(folder, **words):
    """Submitit's for Slurm, for jobs of a minute that are signalled 20 seconds ahead."""
    made = submitit.AutoExecutor(folder=folder, cluster="slurm")
    made.update_parameters(timeout_min=1, slurm_signal_delay_s=20, **words)
    return made


def test_the_node_is_idle(cluster):
    told = cluster.run("sinfo", "--noheader", "--partition=main", "--format=%n %T %c %G")
    assert told.split() == ["localhost", "idle", "8", "gpu:2"]


def test_srun_runs_a_command(cluster):
    assert cluster.run("srun", "hostname").strip() == os.uname().nodename


def test_a_job_of_two_tasks_runs_both_at_once(cluster, folder):
    step = f"{MEET.format(2)}; echo $SLURM_PROCID of $SLURM_NTASKS > of$SLURM_PROCID"
    words = (f"--chdir={folder}", "--output=/dev/null", f"--wrap=srun bash -c '{step}'")
    job = cluster.submit("--ntasks=2", *words)
    cluster.wait(job, "COMPLETED")
    assert [(folder / f"of{rank}").read_text() for rank in range(2)] == ["0 of 2\n", "1 of 2\n"]


def test_an_array_of_four_runs_at_once_and_tells_who_failed(cluster, folder):
    element = f"{MEET.format(4)}; exit $((SLURM_ARRAY_TASK_ID == 2))"
    job = cluster.submit("--array=0-3", f"--chdir={folder}", "--output=/dev/null", f"--wrap={element}")
    cluster.wait(job, "COMPLETED", "FAILED")
    assert cluster.states(job) == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    assert cluster.states(f"{job}_2") == ["FAILED"]
    assert cluster.jobs(f"{job}_2")[0]["ExitCode"] == "1:0"


def test_squeue_tells_how_a_job_ended_only_when_asked_for_all_states(cluster):
    job = cluster.submit("--output=/dev/null", "--wrap=exit 3")
    cluster.wait(job, "FAILED")
    told = ("squeue", "--noheader", "--format=%i %T %r", f"--jobs={job}")
    assert cluster.run(*told) == ""
    assert cluster.run(*told, "--states=all").split() == [job, "FAILED", "NonZeroExitCode"]
    with pytest.raises(ClusterError, match="accounting storage is disabled"):
        cluster.run("sacct", "-j", job)


def test_gpus_are_counted_and_named_to_the_job(cluster):
    devices = "--gpus-per-task=1", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES"
    assert sorted(cluster.run("srun", "--ntasks=2", *devices).split()) == ["0", "1"]
    with pytest.raises(ClusterError, match="Requested node configuration is not available"):
        cluster.run("srun", "--gpus-per-node=3", "true")


def test_scancel_ends_a_job_and_its_processes(cluster, folder):
    script = "echo $$ > writing; mv writing pid; sleep 600"
    job = cluster.submit(f"--chdir={folder}", "--output=/dev/null", f"--wrap={script}")
    meet(folder / "pid")
    pid = int((folder / "pid").read_text())
    assert alive([pid])
    cluster.run("scancel", job)
    cluster.wait(job, "CANCELLED")
    assert not alive([pid])


def test_a_drained_node_ends_its_job_and_starts_none(cluster, folder):
    script = "until [ -e go ]; do sleep .05; done"
    running = cluster.submit(f"--chdir={folder}", "--output=/dev/null", f"--wrap={script}")
    cluster.wait(running, "RUNNING")
    cluster.run("scontrol", "update", "nodename=localhost", "state=drain", "reason=test")
    waiting = cluster.submit("--output=/dev/null", "--wrap=true")
    assert cluster.node() == "draining"
    assert cluster.states(running) == ["RUNNING"]
    (folder / "go").touch()
    cluster.wait(running, "COMPLETED")
    assert cluster.node() == "drained"
    assert cluster.states(waiting) == ["PENDING"]
    cluster.run("scontrol", "update", "nodename=localhost", "state=resume")
    cluster.wait(waiting, "COMPLETED")


def test_a_job_requeued_while_its_node_drains_waits_for_the_node(cluster, folder):
    job = requeued(cluster, folder)
    meet(folder / "ready")
    cluster.run("scontrol", "update", "nodename=localhost", "state=drain", "reason=test")
    cluster.run("scancel", "--signal=USR2", job)
    cluster.wait(job, "PENDING")
    assert cluster.node() == "drained"
    cluster.run("scontrol", "update", "nodename=localhost", "state=resume")
    cluster.wait(job, "COMPLETED")
    assert cluster.jobs(job)[0]["Restarts"] == "1"


def test_a_job_whose_node_goes_down_is_requeued(cluster, folder):
    job = requeued(cluster, folder)
    meet(folder / "ready")
    cluster.run("scontrol", "update", "nodename=localhost", "state=down", "reason=test")
    cluster.wait(job, "PENDING")
    cluster.run("scontrol", "update", "nodename=localhost", "state=resume")
    cluster.wait(job, "COMPLETED")
    assert cluster.history(job) == ["NODE_FAIL", "COMPLETED"]
    assert not (folder / "signals").exists()


def test_an_urgent_job_preempts_another_which_is_signalled_and_requeued(cluster, folder):
    job = requeued(cluster, folder, "--time=10", "--cpus-per-task=8")
    meet(folder / "ready")
    urgent = cluster.submit("--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=true")
    cluster.wait(urgent, "COMPLETED")
    assert (folder / "signals").read_text() == "signalled\n"
    cluster.wait(job, "COMPLETED")
    assert cluster.jobs(job)[0]["Restarts"] != "0"


def test_a_function_comes_back_through_submitit(inside, folder):
    assert executor(folder).submit(square, 3).result() == 9


def test_an_array_comes_back_through_submitit(inside, folder):
    jobs = executor(folder, slurm_array_parallelism=4).map_array(square, range(4))
    assert [job.result() for job in jobs] == [0, 1, 4, 9]
    array = jobs[0].job_id.partition("_")[0]
    assert [job.job_id for job in jobs] == [f"{array}_{element}" for element in range(4)]
    inside.wait(array, "COMPLETED")


def test_submitit_tells_each_task_its_rank_and_a_host_to_dial(inside, folder):
    job = executor(folder, tasks_per_node=2).submit(rank)
    assert job.results() == [(0, 2, ["localhost"]), (1, 2, ["localhost"])]


def test_without_accounting_submitit_knows_results_but_no_states(inside, folder):
    job = executor(folder).submit(time.sleep, 600)
    inside.wait(job.job_id, "RUNNING")
    job.cancel()
    inside.wait(job.job_id, "CANCELLED")
    assert job.state == "UNKNOWN"
    assert not job.done(force_check=True)


def test_a_time_out_signals_and_requeues_with_and_without_submitit(inside, folder):
    plain = requeued(inside, folder, "--time=1")
    job = executor(folder, tasks_per_node=2).submit(Outlasting(1))
    inside.wait(job.job_id, "COMPLETED", seconds=120)
    assert job.results() == [((0,), "1"), ((0,), "1")]  # rank 0 alone is asked to checkpoint, and once
    assert "Not checkpointing nor requeuing since I am a slave" in job.task(1).stdout()
    inside.wait(plain, "COMPLETED")
    assert (folder / "signals").read_text() == "signalled\n"
    assert [inside.jobs(each)[0]["Restarts"] for each in (plain, job.job_id)] == ["1", "1"]


def test_two_clusters_do_not_clash_and_a_closed_one_leaves_nothing_behind(cluster, folder):
    with Cluster() as other:
        script = "setsid sleep 600 & echo $PPID > stepd; touch ready; sleep 600"
        job = other.submit(f"--chdir={folder}", "--output=/dev/null", f"--wrap={script}")
        meet(folder / "ready")
        assert cluster.run("srun", "hostname") == other.run("srun", "hostname")
        running = {*processes(other.folder), int((folder / "stepd").read_text())}
        assert len(alive(running)) == 8  # four of the daemons; the job's stepd, its script, two sleeps
        assert other.states(job) == ["RUNNING"]
    assert not alive(running)
    assert not other.folder.exists()
    assert cluster.node() == "idle"


def test_the_daemons_die_with_the_process_that_started_them():
    program = "from tests.slurm.cluster import Cluster; print(Cluster().folder, flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    with owner:
        other = Path(owner.stdout.readline().decode().strip())
        running = processes(other)
        owner.kill()
    deadline = time.monotonic() + 10
    while alive(running):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(running) == 4
    shutil.rmtree(other)


def test_a_daemon_that_fails_is_named_with_the_end_of_its_log(tmp_path_factory, monkeypatch):
    broken, temporary = tmp_path_factory.mktemp("broken"), tmp_path_factory.mktemp("t")
    (broken / "slurmctld").write_text("#!/bin/sh\necho out of cheese >&2\nexit 7\n")
    (broken / "slurmctld").chmod(0o700)
    monkeypatch.setenv("PATH", f"{broken}:{os.environ['PATH']}")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(ClusterError, match=r"(?s)slurmctld ended with code 7.*--- slurmctld\nout of cheese"):
        Cluster()
    assert list(temporary.iterdir()) == []


def test_where_slurm_is_not_installed_the_reason_says_what_to_install(monkeypatch):
    assert lacking() is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert lacking() == (
        "sbatch, scancel, scontrol, sinfo, squeue, srun not found: apt-get install slurmctld slurmd slurm-client munge"
    )
