"""A sweep as an array of jobs of a real Slurm: states on the way, what failed or was cancelled, the comparison."""

import json
import os
import signal

import pytest
from ardistill_submitit.config import SlurmConfig
from ardistill_submitit.slurm import Slurm

from ardistill.__main__ import main
from ardistill.launch.lock import holder
from ardistill.launch.remote.state import TO_RESUME, states
from tests.launch.work import Tell
from tests.slurm.handed import EVAL, SLURM, wait_for

pytestmark = pytest.mark.slurm


@pytest.fixture
def told(capsys):
    """What a verb prints: its lines, the last one apart."""

    def of(*words, code=0):
        capsys.readouterr()
        assert main([*map(str, words)]) == code
        return capsys.readouterr().out

    return of


def test_an_array_of_four_of_which_one_is_killed_and_one_cancelled_and_both_alone_go_on(
    inside, told, tmp_path
):
    folder = tmp_path / "sweep"
    words = ["method=onestep*", *EVAL, "seed=0,1", "method.samples=60,70", *SLURM, "launcher.parallel=2"]
    runs = [folder / f"onestep-var-{seed}-samples{n}" for seed in (0, 1) for n in (60, 70)]
    inside.run("scontrol", "update", "nodename=localhost", "state=drain", "reason=test")
    assert "4 jobs; look at them with" in told("sweep", *words, f"out={folder}")
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    (array,) = {job.partition("_")[0] for job in jobs.values()}
    assert jobs == {run.name: f"{array}_{number}" for number, run in enumerate(runs)}

    table = told("sweep", "status", folder)
    assert table.splitlines()[-1] == f"{folder}: 4 waiting"
    assert "pending: " in table
    inside.run("scontrol", "update", "nodename=localhost", "state=resume")
    seen = [set() for _ in runs]

    def look():
        found = [each.word for each in states(runs)]
        for words, word in zip(seen, found, strict=True):
            words.add(word)
        return found

    wait_for(lambda: look() and holder(runs[0]))
    assert look().count("waiting") >= 2, "two at once, as was asked"
    os.kill(holder(runs[0]).pid, signal.SIGKILL)
    inside.run("scancel", f"{array}_3")
    wait_for(lambda: set(look()) <= {"finished", *TO_RESUME})
    assert look() == ["failed", "finished", "finished", "cancelled"]
    assert all(words >= {"waiting", "running"} for words in seen[:3])
    assert "was killed" in told("sweep", "status", folder)
    inside.wait(array, "FAILED", "COMPLETED", "CANCELLED")
    assert inside.states(array)[:3] == ["FAILED", "COMPLETED", "COMPLETED"]  # the last may be forgotten

    kept = [(run / "report.json").read_bytes() for run in runs[1:3]]
    table = told("sweep", "resume", folder, "launcher.wait=true")
    assert f"{folder}: 4 finished" in table
    assert "onestep*: mean of 2 seeds" in table
    assert (folder / "compare.png").stat().st_size > 5_000
    assert [(run / "report.json").read_bytes() for run in runs[1:3]] == kept
    later = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert [name for name in jobs if jobs[name] != later[name]] == [runs[0].name, runs[3].name]


def test_all_cells_may_run_at_once_however_many_they_are(inside, tmp_path):
    inside.run("scontrol", "update", "nodename=localhost", "state=drain", "reason=test")
    jobs = list(Slurm(SlurmConfig()).submit([Tell(tmp_path)] * 300, tmp_path / "logs", "many"))
    (job,) = inside.jobs(jobs[0].id.partition("_")[0])
    assert (job["ArrayTaskId"], job["ArrayTaskThrottle"]) == ("0-299%300", "300")
