"""`ardistill sweep` from words to the comparison, and back from what went wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ardistill.__main__ import main
from ardistill.errors import ConfigError
from ardistill.launch.lock import holder
from ardistill.launch.remote.state import states
from ardistill.launch.sweeping.cells import cells
from ardistill.plugins import discover

SMALL = [
    "teacher=var",
    "threads=1",
    "method.samples=60",
    "eval.n=60",
    "eval.batch=60",
    "eval.speed.repeats=0",
]
KILLED = "import os, sys; from pathlib import Path; from ardistill.launch.lock import locked\n"
KILLED += "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"


def named(*words):
    return {cell.name: list(cell.words) for cell in cells(words, discover())}


def test_cells_are_every_combination_under_readable_names():
    found = named("method=dd1,dd2", "teacher=var,llamagen", "seed=0,1", "quick=true")
    assert list(found) == [
        f"{method}-{teacher}-{seed}"
        for method in ("dd1", "dd2")
        for teacher in ("var", "llamagen")
        for seed in (0, 1)
    ]
    assert found["dd2-var-1"] == ["method=dd2", "teacher=var", "seed=1", "quick=true"]


def test_lists_keep_their_commas():
    found = named(
        "method=dd1", "teacher=var", "eval.steps=1,2;1,4", "method.starts=0,2;0,3", "checkpoint.every=5,6"
    )
    assert len(found) == 8
    assert found["dd1-var-steps12-starts02-every5"][2:] == [
        "eval.steps=1,2",
        "method.starts=0,2",
        "checkpoint.every=5",
    ]
    alone = named(
        "method=dd1", "teacher=var", "eval.speed.batches=1,8", "launcher.setup=a,b", "method.lpips.layers=1,2"
    )
    assert {words[2] for words in alone.values()} == {"eval.speed.batches=1,8"}
    assert {words[3] for words in alone.values()} == {"launcher.setup=a,b"}


def test_names_are_harmless_and_distinct():
    long = "x" * 300
    found = named("method=onestep*", f"teacher.checkpoint=../../a,/etc/a,-a\0,{long}1,{long}2", "teacher=var")
    assert len(found) == 5
    for name in found:
        assert len(name) <= 102
        assert name[0].isalnum()
        assert not set(name) & set("/\0*")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=0,0"], "two cells of the sweep would be the same"),
        (["seed=0,,1"], "seed has an empty value in '0,,1'"),
        (
            [
                f"seed={','.join(map(str, range(200)))}",
                f"checkpoint.every={','.join(map(str, range(1, 200)))}",
            ],
            "39,800 cells",
        ),
    ],
)
def test_words_that_make_no_cells(words, said):
    with pytest.raises(ConfigError, match=said):
        named("method=dd1", "teacher=var", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "sweep lacks its words"),
        (["statsu", "x"], "sweep does not know 'statsu'"),
        (["status"], "sweep status takes one folder"),
        (["status", "{tmp}", "seed=1"], "sweep status takes one folder"),
        (["status", "{tmp}"], "is not a sweep's folder: it holds no sweep.json"),
        (["resume", "{tmp}/broken"], "is not as `sweep` writes it"),
        (["method=dd1,dd3", "teacher=var", "out={tmp}/s"], "dd3"),
        (["method=dd1", "teacher=var", "sede=0,1", "out={tmp}/s"], "did you mean seed?"),
        (["method=dd1", "teacher=var", "resume=x"], "sweep does not take resume=x"),
        (["method=onestep*", "teacher=var", "teacher.checkpoint={tmp}/a,{tmp}/b", "out={tmp}/s"], "{tmp}/a"),
        (
            ["method=onestep*", "teacher=var", "out={tmp}/broken"],
            "exists and is not empty; give another out=DIR",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(words, said, tmp_path, capsys):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sweep.json").write_text('{"cells": [{"name": "../x", "words": []}], "words": []}')
    assert main(["sweep", *(word.format(tmp=tmp_path) for word in words)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("ardistill: ")
    assert captured.err.count("\n") == 1
    assert said.format(tmp=tmp_path) in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two runs, one after the other."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    assert main(["sweep", "method=onestep*", *SMALL, "seed=0,1", f"out={folder}"]) == 0
    return folder


DONE = ["finished"]


def table(text, *names):
    rows = (line.split("  ") for line in text.splitlines())
    found = {row[0].strip(): [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}
    return {name: found[name] for name in names}


def test_a_sweep_ends_with_the_comparison(sweep, capsys):
    assert main(["sweep", "status", str(sweep)]) == 0
    told = capsys.readouterr().out
    assert list(table(told, "onestep-var-0", "onestep-var-1").values()) == [DONE, DONE]
    assert f"{sweep}: 2 finished" in told
    assert "onestep* [seed 1, onestep-var-1]" in told
    assert "onestep*: mean of 2 seeds" in told
    assert (sweep / "compare.png").stat().st_size > 5_000
    record = json.loads((sweep / "sweep.json").read_text())
    assert [cell["name"] for cell in record["cells"]] == ["onestep-var-0", "onestep-var-1"]
    assert record["cells"][1]["words"][-1] == "seed=1"
    assert main(["sweep", "resume", str(sweep)]) == 0
    assert "nothing to resume" in capsys.readouterr().out


def test_what_failed_or_is_missing_is_resumed_alone(sweep, tmp_path, capsys):
    folder = tmp_path / "again"
    shutil.copytree(sweep, folder)
    killed, whole = folder / "onestep-var-0", folder / "onestep-var-1"
    kept = (whole / "report.json").read_bytes()
    for name in ("report.json", "student.safetensors"):
        (killed / name).unlink()
    assert main(["sweep", "status", str(folder)]) == 0
    assert table(capsys.readouterr().out, killed.name)[killed.name][0] == "interrupted"
    process = subprocess.run([sys.executable, "-c", KILLED, str(killed)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert main(["sweep", "status", str(folder)]) == 0
    told = capsys.readouterr().out
    assert table(told, killed.name, whole.name)[killed.name][0] == "failed"
    assert "was killed" in told
    assert f"{folder}: 1 failed, 1 finished" in told
    assert main(["sweep", "compare", str(folder)]) == 0
    assert "mean of" not in capsys.readouterr().out
    assert main(["sweep", "resume", str(folder)]) == 0
    assert f"{folder}: 2 finished" in capsys.readouterr().out
    assert (whole / "report.json").read_bytes() == kept
    shutil.rmtree(killed)
    assert main(["sweep", "status", str(folder)]) == 0
    assert table(capsys.readouterr().out, killed.name)[killed.name] == ["missing"]


def test_a_run_that_fails_leaves_the_others_and_its_reason(sweep, tmp_path, capsys):
    folder = tmp_path / "again"
    shutil.copytree(sweep, folder)
    for run in (folder / "onestep-var-0", folder / "onestep-var-1"):
        (run / "report.json").unlink()
    config = folder / "onestep-var-0" / "config.toml"
    whole = config.read_text()
    config.write_text(whole.replace('checkpoint = "none"', f'checkpoint = "{tmp_path}/gone.pth"'))
    assert main(["sweep", "resume", str(folder), "launcher.check=false"]) == 3
    captured = capsys.readouterr()
    assert "1 of 2 failed: onestep-var-0; go on with: sweep resume" in captured.err
    assert table(captured.out, "onestep-var-1") == {"onestep-var-1": ["finished"]}
    assert main(["sweep", "status", str(folder)]) == 0
    assert "gone.pth" in " ".join(table(capsys.readouterr().out, "onestep-var-0")["onestep-var-0"])
    config.write_text(whole)
    assert main(["sweep", "resume", str(folder)]) == 0


def test_the_state_of_a_single_run(sweep, capsys):
    assert main(["sweep", "status", str(sweep / "onestep-var-1")]) == 0
    assert table(capsys.readouterr().out, "onestep-var-1") == {"onestep-var-1": ["finished"]}


@pytest.mark.processes
def test_four_jobs_one_killed_and_resumed_alone(tmp_path):
    def ardistill(*words):
        command = [sys.executable, "-m", "ardistill", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    folder = tmp_path / "sweep"
    asked = ["launcher=local", "launcher.parallel=2", "launcher.check=false"]
    command = [
        sys.executable,
        "-m",
        "ardistill",
        "sweep",
        "method=onestep*",
        "teacher=var",
        "threads=1",
        "seed=0,1",
    ]
    command += ["method.samples=60,70", *SMALL[3:], *asked, f"out={folder}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as submitting:
        runs = [folder / f"onestep-var-{seed}-samples{n}" for seed in (0, 1) for n in (60, 70)]
        deadline = time.monotonic() + 300
        while (held := holder(runs[0])) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(held.pid, signal.SIGKILL)
        assert submitting.wait() == 0
    while {"running", "waiting", "starting"} & {each.word for each in states(runs)}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert [each.word for each in states(runs)] == ["failed", "finished", "finished", "finished"]
    reports = [(run / "report.json").read_bytes() for run in runs[1:]]
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    done = ardistill("sweep", "resume", str(folder), "launcher.wait=true")
    assert done.returncode == 0, done.stderr
    assert "4 finished" in done.stdout
    assert [(run / "report.json").read_bytes() for run in runs[1:]] == reports
    later = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert [name for name in jobs if jobs[name] != later[name]] == [runs[0].name]
