"""The pages have what the files of benchmarks/results give, and gpu.sh commands that the command line understands."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import torch

from ardistill.__main__ import main
from ardistill.benching.result import Result
from ardistill.cli.bench import structured
from ardistill.config import structure_words
from ardistill.errors import ArdistillError
from ardistill.plugins import discover
from tests.scripts import BENCHMARKS, loaded

ROOT = BENCHMARKS.parent
GPU = BENCHMARKS / "gpu.sh"


@pytest.fixture(scope="module")
def tables():
    """The script, imported as it imports its neighbours."""
    sys.path.insert(0, str(BENCHMARKS))
    yield from loaded("tables")
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.split(".")[0] in {"overhead_parts", "training_parts"}]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def training(tables):
    yield from loaded("training")


@pytest.fixture(scope="module")
def startup():
    yield from loaded("startup")


@pytest.fixture
def packing():
    threads = torch.get_num_threads()
    yield from loaded("packing")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """That of a real bench."""
    out = tmp_path_factory.mktemp("bench") / "one.json"
    words = ["teacher=var", "method=dd2", "threads=1", "repeats=1", "budget=20", "batches=1,64"]
    assert main(["bench", *words, f"out={out}"]) == 0
    return Result.load(out)


def listed(kind=""):
    """The commands of gpu.sh, or those with a word."""
    done = subprocess.run(["bash", str(GPU), "--list"], capture_output=True, text=True, check=True)
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    return [command for command in commands if not kind or kind in command]


STEPS = "benchmarks/training.py"


def test_pages_have_what_the_files_give(tables):
    assert tables.main(["--check"]) == 0, "out of date; run: python benchmarks/tables.py"


def test_the_gpus_commands_are_understood():
    registry, seen = discover(), set()
    assert len(listed("bench")) + len(listed(STEPS)) == len(listed())
    for command in listed("bench"):
        assert command[:4] == ["python", "-m", "ardistill", "bench"]
        given = structured(command[4:], registry)
        seen.add((given.teacher.name, given.teacher.settings.preset, given.precision))
        assert given.device == "cuda"
        assert set(given.modes) == {"eager", "compiled", "graph", "compiled-graph"}
        assert given.batches == (1, 8, 64)
        assert given.largest
        assert given.teacher.settings.checkpoint is None
        assert given.out.parent == Path("benchmarks/results")
    models = {("var", "d16"), ("var", "d20"), ("llamagen", "c2i-B"), ("llamagen", "c2i-L")}
    assert seen == {(*model, precision) for model in models for precision in ("fp32", "bf16")}
    assert len({command[-1] for command in listed()}) == len(listed())


def test_the_gpus_training_steps_are_understood(training):
    seen = {}
    for command in listed(STEPS):
        assert command[:2] == ["python", STEPS]
        given = structure_words(command[2:], training.Benchmark)
        seen[given.teacher] = given.method
        assert (given.device, given.precision, given.phases) == ("cuda", "bf16", ())
        assert given.out == Path(f"benchmarks/results/training/gpu-{given.teacher}-bf16.json")
    assert seen == dict.fromkeys(training.RELEASED, ("dd1", "dd2"))


def test_the_gpus_budgets_are_less_than_ten_minutes(training):
    script = GPU.read_text()

    def number(name):
        return int(re.search(rf"readonly {name}=(\d+)", script)[1])

    seconds = [structured(command[4:], discover()).budget + number("LOADING") for command in listed("bench")]
    for command in listed(STEPS):
        given = structure_words(command[2:], training.Benchmark)
        seconds.append(given.budget * len(given.method) + number("STEPS_LOADING"))
    assert sum(seconds) < number("LIMIT") < 600


def test_the_script_is_one_of_bash(tmp_path):
    subprocess.run(["bash", "-n", str(GPU)], check=True)
    done = subprocess.run(["bash", str(GPU), "--lits"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "gpu.sh knows --list alone, not --lits\n")
    if (check := shutil.which("shellcheck")) is not None:
        subprocess.run([check, str(GPU)], check=True)


FAKE = """#!/usr/bin/env bash
echo "$@" >> "$CALLS"
for word in "$@"; do case $word in out=*) [[ $word == *var-d20* ]] && exit 3; echo {} > "${word#out=}";; esac; done
exit 0
"""


def test_the_script_measures_what_has_no_file_and_goes_on_after_a_failure(tmp_path):
    """With a program in place of Python that only notes how it was called."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    shutil.copy(GPU, tmp_path / "benchmarks" / "gpu.sh")
    program, calls = tmp_path / "fake", tmp_path / "calls"
    program.write_text(FAKE)
    program.chmod(0o755)
    there = listed()[0][-1].removeprefix("out=")
    (tmp_path / there).write_text("{}")
    script = ["bash", str(tmp_path / "benchmarks" / "gpu.sh")]
    env = {"PYTHON": str(program), "CALLS": str(calls), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, "three of them failed"
    assert f"{there} is there" in done.stdout
    called = calls.read_text().splitlines()
    assert called[:-1] == [shlex.join(command[1:]) for command in listed()[1:]]
    assert called[-1] == "benchmarks/tables.py"
    done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
    assert len(calls.read_text().splitlines()) == len(called) + 4, "those that failed, and the tables"


def test_rows_of_a_file_and_of_none(tables, result, tmp_path):
    pages = tables.pages(tmp_path)
    names = tables.expected()
    assert len(names) == 8
    for text in pages.values():
        assert all(re.search(rf"^\| {name} \|  \| not measured \|", text, re.MULTILINE) for name in names)
    result.save(tmp_path / f"{names[1]}.json")
    short, full = tables.pages(tmp_path).values()
    teacher, student = tables.fair(result, 64)
    line = next(line for line in short.splitlines() if line.startswith(f"| {names[1]} |"))
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[8] == f"{teacher.whole.seconds / student.whole.seconds:.2f}x"
    assert "not measured" not in line
    assert short.count("not measured") == 2 * (len(names) - 1)
    assert full.count("Not measured.") == len(names) - 1
    for said in (
        result.command,
        result.date[:10],
        f"torch {result.versions['torch']}",
        result.hardware["cpu"],
    ):
        assert said in full
    for row in result.rows:
        assert f"| {row.name} | eager | {row.batch} |" in full
    attrs.evolve(result, rows=result.rows[:2]).save(tmp_path / "cpu-mine.json")
    assert "\n| cpu-mine |" in tables.pages(tmp_path)[ROOT / "README.md"], "others stand behind"


def test_training_steps_of_a_file_and_of_none(tables, training, tmp_path, capsys):
    """A real one of the digits, in the place of one that is expected and behind those."""
    names = list(tables.listed(STEPS))
    assert len(names) == 5
    text = tables.training(tmp_path)
    assert [
        text.count(f"\n| {name} |  |  | {method} | not measured |") for name in names for method in METHODS
    ] == [1] * 10
    out = tmp_path / f"{names[1]}.json"
    words = ["method=dd1", "teacher=var", "repeats=1", "threads=1", "device=cpu", f"out={out}"]
    assert training.main(words) == 0
    shutil.copy(out, tmp_path / "cpu-mine.json")
    result, text = training.Result.load(out), tables.training(tmp_path)
    assert text.count("not measured") == 8
    for name in (names[1], "cpu-mine"):
        assert f"\n| {name} | {tables.device(result)} | fp32 | dd1 | train | student | 1 |" in text
    assert text.index(names[-1]) < text.index("cpu-mine"), "others stand behind"
    assert text.count(f"`{result.command}`") == 2
    out.write_text("{}")
    with pytest.raises(ArdistillError, match="is no result of benchmarks"):
        tables.training(tmp_path)


METHODS = ("dd1", "dd2")


def test_the_mode_in_which_the_teacher_is_fastest(tables, result):
    eager, student = result.rows[:2]

    def row(like, mode, seconds):
        return attrs.evolve(like, mode=mode, whole=attrs.evolve(like.whole, seconds=seconds))

    rows = (
        row(eager, "eager", 3.0),
        row(student, "eager", 0.1),
        row(eager, "graph", 1.0),
        row(student, "graph", 0.5),
        row(eager, "compiled", 0.2),
    )
    own, beside = tables.fair(attrs.evolve(result, rows=rows), 1)
    assert (own.mode, beside.mode, beside.whole.seconds) == ("graph", "graph", 0.5)
    assert tables.fair(attrs.evolve(result, rows=rows), 8) is None


def test_a_page_out_of_date_is_found_out(tables, result, tmp_path, monkeypatch, capsys):
    result.save(tmp_path / "new.json")
    (tmp_path / "training").mkdir()
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.main(["--check"]) == 1
    assert "README.md: out of date" in capsys.readouterr().out
    (tmp_path / "new.json").write_text(json.dumps({"rows": 1}))
    assert tables.main(["--check"]) == 2
    assert tables.main(["--chekc"]) == 2


def test_a_block_is_filled_and_nothing_else(tables):
    page = "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter"
    assert tables.filled(page.replace("bench", "training"), "new", "training").count("new") == 1
    filled = tables.filled(page, "new")
    assert filled == "before\n<!-- bench -->\n\nnew\n\n<!-- /bench -->\nafter"
    assert tables.filled(filled, "new") == filled
    for broken in ("no comment", "<!-- bench -->", page + page):
        with pytest.raises(ValueError, match="a page needs one"):
            tables.filled(broken, "new")


def test_packing(packing, monkeypatch, capsys):
    monkeypatch.setattr(packing, "SIZES", {"one": (600, 512)})
    monkeypatch.setattr(packing, "_BYTES", 1)
    assert packing.main(["rounds=1"]) == 0
    table = capsys.readouterr().out.splitlines()[2:5]
    assert [line.split()[:2] for line in table] == [["one", str(rows)] for rows in packing.ROWS]
    assert all(float(each) > 0 for line in table for each in line.split()[2:])
    assert packing.main(["rounds=0"]) == 2


def test_startup(startup, monkeypatch, capsys):
    monkeypatch.setattr(startup, "COMMANDS", ("--version",))
    assert startup.main(["repeats=1", "limit=60"]) == 0
    assert re.search(r"^python -m ardistill --version +[\d.]+", capsys.readouterr().out, re.MULTILINE)
    monkeypatch.setattr(startup, "load", lambda: 0.0)
    assert startup.main(["repeats=1", "limit=0.001"]) == 1
    assert "--version: beyond 0.001 s" in capsys.readouterr().err
    monkeypatch.setattr(startup, "load", lambda: 3.0)
    assert startup.main(["repeats=1", "limit=0.001"]) == 0
    assert "3.0 processes a core: not judged" in capsys.readouterr().out
    assert startup.main(["repeats=0"]) == 2
