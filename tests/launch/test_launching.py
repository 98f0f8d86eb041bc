"""The launcher's words, and what is asked of submitit with them."""

import json
import math

import attrs
import pytest
from ardistill_submitit.config import LocalConfig, SlurmConfig
from ardistill_submitit.tasks import Task
from hypothesis import given
from hypothesis import strategies as st

from ardistill.config import Section, dump_toml, load
from ardistill.config.launching import HereConfig
from ardistill.errors import ArdistillError, ConfigError, LaunchError
from ardistill.launch.remote.submitting import submit
from ardistill.plugins import discover
from tests.launch.work import Tell

RUN = ["method=dd2", "teacher=var"]
SLURM = Section("slurm", SlurmConfig())


def launcher(*words, file=None):
    return load([*RUN, *words], file).launcher


def test_a_bare_name_chooses_and_keys_tell_more():
    assert launcher() == Section("here", HereConfig())
    assert launcher("launcher=slurm") == launcher("launcher.name=slurm") == Section("slurm", SlurmConfig())
    told = launcher("launcher.gpus=8", "launcher=slurm", "launcher.time=90m")
    asked = told.settings
    assert (told.name, asked.gpus, asked.n_tasks, asked.seconds) == ("slurm", 8, 8, 5400)


def test_words_lie_over_a_file_and_another_name_voids_it(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(dump_toml(load([*RUN, "launcher=slurm", "launcher.partition=gpu", "launcher.time=3d"])))
    assert launcher(file=file) == Section("slurm", SlurmConfig(time="3d", partition="gpu"))
    assert launcher("launcher.time=5", file=file).settings == SlurmConfig(time=5, partition="gpu")
    assert launcher("launcher=slurm", file=file).settings.partition == "gpu"
    assert launcher("launcher=local", file=file) == Section("local", LocalConfig())


def test_words_of_others_that_ask_for_nothing_are_left_out(tmp_path):
    """A file that tells every word there is, whoever reads it, and the same on the command line."""
    every = {**attrs.asdict(SlurmConfig()), "name": "here"}
    told = [f"{key} = {json.dumps('none' if value is None else value)}" for key, value in every.items()]
    file = tmp_path / "config.toml"
    file.write_text("\n".join(["[launcher]", *told]))
    assert launcher(file=file) == Section("here", HereConfig())
    assert launcher("launcher=local", "launcher.nodes=1").settings == LocalConfig()
    file.write_text(file.read_text().replace('partition = "none"', 'partition = "gpu"'))
    with pytest.raises(ConfigError, match=r"^launcher\.partition is for launcher=slurm, and launcher=here"):
        launcher(file=file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["launcher=slrum"],
            "unknown launcher 'slrum'; did you mean slurm? known: here, local, slurm",
        ),
        (["launcher.partition=gpu"], "launcher.partition is for launcher=slurm, and launcher=here"),
        (["launcher=local", "launcher.nodes=2"], "launcher.nodes is for launcher=slurm, and launcher=local"),
        (["launcher.wait=true"], "launcher.wait is for launcher=local or slurm, and launcher=here"),
        (["launcher=slurm", "launcher.time=soon"], "launcher.time must be minutes, or such as 90s"),
        (["launcher=slurm", "launcher.time=0"], "launcher.time must be minutes"),
        (["launcher=slurm", "launcher.time=" + "9" * 300], "launcher.time must be"),
        (["launcher=slurm", "launcher.gpus=-1"], "launcher.gpus must be at least 0"),
        (["launcher=slurm", "launcher.folder=a%j"], "launcher.folder must not hold %"),
        (["launcher=slurm", "launcher.gups=1"], "did you mean launcher.gpus?"),
        (["launcher.partitoin=gpu"], "did you mean launcher.partition, which is for launcher=slurm?"),
        (["launcher="], "launcher is missing; write launcher=NAME, known: here, local, slurm"),
    ],
)
def test_bad_words_are_one_sentence(words, said):
    with pytest.raises(ArdistillError) as refused:
        launcher(*words)
    assert refused.value.exit_code == 2
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.integers(1, 365), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("", 60)]))
def test_times_come_back(number, unit):
    suffix, seconds = unit
    config = SlurmConfig(time=f"{number}{suffix}")
    assert config.seconds == number * seconds
    assert 1 <= config.told_before <= max(1, config.seconds / 2)


@given(st.integers(1, 5), st.integers(1, 8), st.text(max_size=20))
def test_tasks_are_told_as_torchrun_tells_them(nodes, on_each, job):
    size = nodes * on_each
    all_told = [Task(job, rank, size, rank % on_each, on_each, "first").variables() for rank in range(size)]
    if size == 1:
        assert all_told == [{}]
        return
    assert [int(told["RANK"]) for told in all_told] == list(range(size))
    assert {(told["WORLD_SIZE"], told["LOCAL_WORLD_SIZE"]) for told in all_told} == {
        (str(size), str(on_each))
    }
    assert len({(told["MASTER_ADDR"], told["MASTER_PORT"]) for told in all_told}) == 1
    assert 1024 < int(all_told[0]["MASTER_PORT"]) < 32_768


def test_where_there_is_no_slurm_the_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match=r"launcher=slurm takes no job: .*srun"):
        list(submit([Tell(tmp_path)], SLURM, discover(), tmp_path / "logs", "x"))


def test_what_slurm_is_asked_for_stands_in_the_script_and_its_refusal_in_one_sentence(
    tmp_path, monkeypatch, capfd
):
    """A program in sbatch's place, that keeps the script and complains as sbatch does."""
    for name in ("srun", "sbatch"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/bin/sh\ncat "$1" > {tmp_path}/script\n'
            'echo "sbatch: error: looking" >&2; echo "sbatch: error: invalid partition: gpu" >&2; exit 1\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    asked = SlurmConfig(
        time="90s", gpus=2, nodes=2, cpus=3, memory=1.5, partition="gpu", setup="module load x; y"
    )
    with pytest.raises(
        LaunchError, match=r"^launcher=slurm takes no job: sbatch: error: invalid partition: gpu$"
    ):
        list(submit([Tell(tmp_path)], Section("slurm", asked), discover(), tmp_path / "logs", "mine"))
    assert capfd.readouterr().err == ""
    script = (tmp_path / "script").read_text().splitlines()
    options = {line.removeprefix("#SBATCH --") for line in script if line.startswith("#SBATCH")}
    minutes = math.ceil(90 / 60)
    assert options >= {
        f"time={minutes}",
        "signal=USR2@45",
        "gpus-per-node=2",
        "nodes=2",
        "ntasks-per-node=2",
        "cpus-per-task=3",
        "mem=1536M",
        "partition=gpu",
        "job-name=mine",
        "requeue",
    }
    assert "module load x; y" in script
    (command,) = [line for line in script if line.startswith("srun")]
    assert "--kill-on-bad-exit=1" in command
    assert "--cpus-per-task=3" in command
