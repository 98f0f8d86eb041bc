"""A launcher of somebody else's, installed as its distribution would be: plain processes under `nice`."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

from ardistill.__main__ import main
from ardistill.config import dump_toml, load
from ardistill.errors import LaunchError, PluginError
from ardistill.launch.folder import configured
from ardistill.launch.remote import traces
from ardistill.launch.remote.state import states
from ardistill.launch.remote.submitting import submit
from ardistill.plugins import discover
from ardistill.processes import Process

ROOT = Path(__file__).parents[2]

PLUGIN = """
from ardistill.hookspecs import hookimpl
from ardistill.records import LauncherOffer
ardistill_api = 1

@hookimpl
def ardistill_launchers():
    yield LauncherOffer("nice", "polite processes of this machine", "nice_jobs:Nice", "nice_config:NiceConfig")
    yield LauncherOffer("bare", "the same without words of its own", "nice_jobs:Nice")
    yield LauncherOffer("odd", "settings of no launcher", "nice_jobs:Nice", "nice_config:OddConfig")
    yield LauncherOffer("short", "loses jobs", "nice_jobs:Short", "nice_config:NiceConfig")
    yield LauncherOffer("full", "takes none", "nice_jobs:Full", "nice_config:NiceConfig")
"""

CONFIG = """
import attrs
from attrs.validators import ge, le
from ardistill.config.launching import LauncherConfig

@attrs.frozen
class NiceConfig(LauncherConfig):
    level: int = attrs.field(default=10, validator=[ge(0), le(19)])
    again: int = attrs.field(default=9, validator=ge(0))

@attrs.frozen
class OddConfig:
    level: int = 1
"""

JOBS = """
import os, subprocess
from ardistill.launchers import INTERRUPTED, Job, JobState
from ardistill.processes import Process

# the run's command, and the same again as long as it says that it was interrupted
AGAIN = 'i=0; while "$@"; s=$?; [ $s = %d ] && [ $i -lt %d ]; do i=$((i+1)); done; exit $s'

class Nice:
    pause = 0.2

    def __init__(self, config):
        self.config = config

    def submit(self, works, folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        for number, work in enumerate(works):
            log = folder / f"{name}-{number}.log"
            again = AGAIN % (INTERRUPTED, self.config.again)
            nice = ["nice", "-n", str(self.config.level), "sh", "-c", again, "sh", *work.command]
            with log.open("wb") as file:
                started = subprocess.Popen(nice, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                           start_new_session=True)
            process = Process.here(started.pid)
            started.returncode = 0  # it is left to itself
            yield Job(f"{process.pid}@{self.config.level}", str(log), process)

    def states(self, jobs):
        for job in jobs:
            assert job.id.endswith(f"@{self.config.level}"), "another launcher's job"
        return [JobState("running" if job.process.alive() else "ended", "" if job.process.alive() else "nicely")
                for job in jobs]

class Short(Nice):
    def submit(self, works, folder, name):
        return []
    def states(self, jobs):
        return []

class Full(Nice):
    def submit(self, works, folder, name):
        raise OSError("the queue is full")
    def states(self, jobs):
        return [JobState("lost")]
"""

SMALL = ["teacher=var", "threads=1", "eval.n=60", "eval.batch=60", "eval.speed.repeats=0", "eval.baselines="]
TINY = [*SMALL, "eval.steps=1", "method=dd1", "method.n_pairs=60", "method.images=192", "method.batch=16"]
TINY += ["method.warmup_images=16", "checkpoint.every=16"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "polite_launchers-2.dist-info"
    info.mkdir(parents=True)
    for name, source in {"plugin_of_nice": PLUGIN, "nice_config": CONFIG, "nice_jobs": JOBS}.items():
        (site / f"{name}.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: polite-launchers\nVersion: 2\n")
    (info / "entry_points.txt").write_text("[ardistill]\nnice = plugin_of_nice\n")
    monkeypatch.syspath_prepend(site)
    yield site
    for name in ("plugin_of_nice", "nice_config", "nice_jobs"):
        sys.modules.pop(name, None)


def ardistill(*words, site=None):
    """In a process of its own, to which the plugin is installed where a site is given."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"} | ({} if site is None else {"PYTHONPATH": str(site)})
    command = [sys.executable, "-m", "ardistill", *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)


def wait_for(happens, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)
    return found


def chosen(*words):
    return load(["method=dd2", "teacher=var", *words]).launcher


def test_its_words_are_its_own_and_those_of_every_launcher(site, tmp_path):
    made = chosen("launcher=nice", "launcher.level=3", "launcher.wait=true")
    assert (made.name, made.settings.level, made.settings.wait, made.settings.check) == (
        "nice",
        3,
        True,
        True,
    )
    file = tmp_path / "config.toml"
    file.write_text(dump_toml(load(["method=dd2", "teacher=var", "launcher=nice", "launcher.level=3"])))
    assert load([], file).launcher.settings.level == 3
    assert chosen("launcher=bare", "launcher.wait=true").settings.wait
    assert chosen("launcher=polite-launchers:nice").settings.level == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["launcher=nise"], "unknown launcher 'nise'; did you mean nice? known: here, bare (of polite-launchers), "),
        (["launcher=nice", "launcher.level=20"], "launcher.level must be at most 19, not 20"),
        (["launcher=nice", "launcher.leval=2"], "unknown key launcher.leval; did you mean launcher.level?"),
        (["launcher=nice", "launcher.partition=x"], "launcher.partition is for launcher=slurm, and launcher=nice"),
        (["launcher=slurm", "launcher.again=3"], "launcher.again is for launcher=full, nice or short, and launcher="),
        (["launcher.wait=true"], "launcher.wait is for launcher=bare, full, local, nice, short or slurm, and laun"),
        (["launcher=odd"], "launcher odd takes a OddConfig, which does not derive from ardistill.config.launching.L"),
    ],
)  # fmt: skip
def test_bad_words_are_one_sentence(site, words, said):
    done = ardistill("run", "method=dd2", "teacher=var", *words, site=site)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ardistill: {said}")
    assert done.stderr.count("\n") == 1


def test_the_cores_own_name_is_refused(site):
    (site / "plugin_of_nice.py").write_text(PLUGIN.replace('"nice"', '"here"', 1))
    sys.modules.pop("plugin_of_nice", None)
    (problem,) = discover().problems
    assert problem.reason == "ardistill_launchers yields here, which ardistill has itself; give another name"
    assert chosen("launcher=here").name == "here"


def test_a_runs_folder_is_read_without_its_launcher(tmp_path):
    told = {"method": "onestep*", "teacher": "var", "launcher": "nice"}
    lines = [f'[{key}]\nname = "{name}"\n' for key, name in told.items()]
    (tmp_path / "config.toml").write_text("".join([*lines, "level = 3\n"]))
    (tmp_path / "student.safetensors").touch()
    assert configured(tmp_path, discover()).launcher.name == "here"
    with pytest.raises(PluginError, match="unknown launcher 'nice'; known: here, local, slurm"):
        load([], tmp_path / "config.toml")


class Told:
    folder = None
    command = (sys.executable, "-c", "print('told')")


def test_what_a_launcher_does_wrong_is_told_as_its_own(site, tmp_path):
    registry = discover()
    for name, kind, said in (
        ("short", PluginError, "launcher short tells of 0 jobs for 1 runs; its plugin is at fault"),
        ("full", LaunchError, "launcher=full takes no job: the queue is full"),
    ):
        with pytest.raises(kind) as refused:
            list(submit([Told], chosen(f"launcher={name}"), registry, tmp_path / "logs", "x"))
        assert str(refused.value) == said


def handed(folder, launcher, **record):
    folder.mkdir()
    (folder / "config.toml").write_text("")
    traces.write(folder, traces.LAUNCH, traces.Launch(launcher, "12@10", **record))
    return folder


def test_states_come_from_the_launcher_that_submitted_and_what_it_can_not_tell_costs_no_other(
    site, tmp_path, capsys
):
    alive, settings = Process.here(), {"level": 10, "wait": False}
    runs = [
        handed(tmp_path / "alive", "nice", process=alive, settings=settings),
        handed(tmp_path / "gone", "nice", process=Process("x", 1, "", 1), settings={}),
        handed(tmp_path / "other", "nice", process=alive, settings={"level": 3}),
        handed(tmp_path / "old", "nice", process=alive, settings={"depth": 3}),
        handed(tmp_path / "short", "short"),
        handed(tmp_path / "full", "full"),
        handed(tmp_path / "absent", "absent"),
    ]
    (tmp_path / "gone" / "launch.json").write_text(
        (tmp_path / "gone" / "launch.json").read_text().replace('"x"', json.dumps(alive.host))
    )
    told = {run.name: (found.word, found.note) for run, found in zip(runs, states(runs), strict=True)}
    assert told["alive"] == ("starting", "")
    assert told["gone"] == ("failed", "job 12@10 ended: nicely")
    assert told["other"] == ("unknown", "launcher nice can't tell (AssertionError: another launcher's job)")
    assert told["old"][0] == told["short"][0] == told["full"][0] == told["absent"][0] == "unknown"
    assert told["old"][1].startswith("unknown key depth")
    assert told["short"][1] == "launcher short tells of 0 jobs, and 1 were asked for"
    assert "launcher full can't tell (ValueError: 'word' must be in" in told["full"][1]
    assert told["absent"][1].startswith("unknown launcher 'absent'; known: here, ")
    assert main(["sweep", "status", str(runs[0])]) == 0
    assert "12@10" in capsys.readouterr().out


def test_it_is_listed_and_checked(site, capsys):
    assert main(["plugins"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["launcher", "local"] in [row[:2] for row in rows]
    (row,) = [row for row in rows if row[:2] == ["launcher", "nice"]]
    assert row[-2:] == ["polite-launchers", "2"]
    assert main(["plugins", "check", "launcher:nice"]) == 0
    assert "launcher=nice launcher.wait=true" in capsys.readouterr().out
    assert main(["plugins", "check", "launcher:odd"]) == 1
    assert "does not derive from ardistill.config.launching.LauncherConfig" in capsys.readouterr().out


@pytest.mark.processes
def test_a_run_goes_through_it_and_its_folder_needs_it_no_more(site, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["launcher=nice", "launcher.level=3", "launcher.wait=true"]
    done = ardistill("run", *TINY, f"out={out}", *words, site=site)
    assert done.returncode == 0, done.stderr
    launch = json.loads((out / "launch.json").read_text())
    assert (launch["launcher"], launch["settings"]["level"]) == ("nice", 3)
    assert f"job {launch['job']}; its log: {launch['log']}" in done.stdout
    assert "dd1, 1 pass" in done.stdout
    assert 'name = "nice"' in (out / "config.toml").read_text()
    # the job's own process, and this one of somebody without the plugin, work with the folder
    sampled = ardistill("sample", f"run={out}", f"out={tmp_path / 'a.png'}", "n=2")
    assert sampled.returncode == 0, sampled.stderr
    assert ardistill("run", f"resume={out}").returncode == 0
    refused = ardistill("run", "--config", out / "config.toml")
    assert refused.stderr.startswith("ardistill: unknown launcher 'nice'")


@pytest.mark.processes
def test_an_interrupted_run_is_started_again_and_one_that_fails_says_why(site, tmp_path):
    out = tmp_path / "run"
    done = ardistill("run", *TINY, f"out={out}", "launcher=nice", "launcher.check=false", site=site)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: any(out.glob("checkpoints/0*")))
    from ardistill.launch.lock import holder

    first = wait_for(lambda: holder(out)).pid
    assert os.getpriority(os.PRIO_PROCESS, first) >= 10
    os.kill(first, 15)
    wait_for(lambda: states([out])[0].word == "finished")
    assert "stopped by SIGTERM at image" in next(out.glob("launch/*.log")).read_text()

    out = tmp_path / "bad"
    words = [f"teacher.checkpoint={tmp_path}/gone.pth", "launcher=nice", "launcher.check=false"]
    done = ardistill("run", *TINY, f"out={out}", *words, "launcher.wait=true", site=site)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(f"ardistill: {out}: failed (")
    assert "gone.pth" in done.stderr
    assert f"go on with: run resume={out} launcher=nice" in done.stderr


@pytest.mark.processes
def test_a_sweep_of_two_cells_goes_through_it(site, tmp_path, capsys):
    folder = tmp_path / "sweep"
    words = [
        "method=onestep*",
        *SMALL,
        "method.samples=60",
        "seed=0,1",
        "launcher=nice",
        "launcher.check=false",
    ]
    done = ardistill("sweep", *words, f"out={folder}", site=site)
    assert done.returncode == 0, done.stderr
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert list(jobs) == ["onestep-var-0", "onestep-var-1"]
    runs = [folder / name for name in jobs]
    seen = set()

    def look():
        found = {each.word for each in states(runs)}
        seen.update(found)
        return found

    wait_for(lambda: look() == {"finished"})
    assert seen <= {"starting", "running", "finished"}
    assert main(["sweep", "status", str(folder)]) == 0
    told = capsys.readouterr().out
    assert f"{folder}: 2 finished" in told
    assert all(job in told for job in jobs.values())
    last = Process.here(int(jobs[runs[1].name].partition("@")[0]))
    wait_for(lambda: not last.alive())  # a run is finished before its process is
    (runs[1] / "report.json").unlink()
    again = ardistill("sweep", "resume", folder, "launcher.level=5", "launcher.wait=true", site=site)
    assert again.returncode == 0, again.stderr
    assert f"{folder}: 2 finished" in again.stdout
    later = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert later["onestep-var-0"] == jobs["onestep-var-0"]
    assert later["onestep-var-1"].endswith("@5")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_the_one_of_the_documentation_starts_a_work_again_until_it_is_done(tmp_path):
    page = (ROOT / "docs" / "write-a-plugin.md").read_text()
    (block,) = [each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Nice" in each]
    made = {}
    exec(block, made)

    @attrs.frozen
    class Work:
        folder = None
        command: tuple

    def counting(code):
        said = (
            f"echo $(nice) >> {tmp_path}/{code}; [ $(wc -l < {tmp_path}/{code}) = 3 ] || exit 75; exit {code}"
        )
        return Work(("sh", "-c", said))

    launcher = made["Nice"](SimpleNamespace(level=1))
    jobs = list(launcher.submit([counting(0), counting(4)], tmp_path / "logs", "x"))
    wait_for(lambda: [each.word for each in launcher.states(jobs)] == ["ended", "ended"])
    assert (tmp_path / "0").read_text() == (tmp_path / "4").read_text() == 3 * f"{min(19, os.nice(0) + 1)}\n"
