"""A package begun by `plugins new`: exactly these files, and it installs, is found, conforms and runs as it is."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ardistill.__main__ import main
from ardistill.cli.beginning import COMMANDS, rendered

PYTHON = [sys.executable, "-m"]
OFFLINE = ("--quiet", "--no-deps", "--no-build-isolation")
PAGE = Path(__file__).parents[2] / "docs" / "write-a-plugin.md"


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_package_has_exactly_these_files(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", kind, "my-thing"]) == 0
    folder = tmp_path / "ardistill-my-thing"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    package = "ardistill_my_thing"
    assert files == {
        "README.md",
        "pyproject.toml",
        f"{package}/__init__.py",
        f"{package}/config.py",
        f"{package}/{kind}.py",
        f"{package}/py.typed",
        "tests/test_my_thing.py",
    }
    assert list(tmp_path.iterdir()) == [folder], "nothing is left aside"
    said = capsys.readouterr().out
    assert "pip install -e ./ardistill-my-thing" in said
    assert f"python -m ardistill plugins check {kind}:my-thing\n" in said
    assert COMMANDS[kind].format(name="my-thing") in said
    assert COMMANDS[kind].format(name="my-thing") in (folder / "README.md").read_text()
    for path in folder.rglob("*"):
        text = path.read_text() if path.is_file() else ""
        assert "{{" not in text
        assert all(len(line) <= 120 for line in text.splitlines() if path.suffix == ".py"), path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give a kind and a name, such as: python -m ardistill plugins new method mine"),
        (["teacher"], "give a kind and a name"),
        (["teachr", "mine"], "'teachr' can't be begun; did you mean teacher?"),
        (["student", "mine"], "'student' can't be begun; known: teacher, tokenizer, method, metric"),
        (["method", "../../x"], "'../../x' is no name of a package"),
        (["method", "Mine"], "'Mine' is no name of a package; give small letters"),
        (["method", "x" * 300], "is no name of a package"),
        (["method", "mine", "ot=x"], "unknown key ot; did you mean out?"),
        (["method", "mine", "out=taken"], "taken is there already; give another name, or out=DIR"),
        (["method", "mine", "out=taken/file/x"], "can't be made (Not a directory)"),
    ],
)
def test_what_can_not_be_begun_is_one_sentence_and_leaves_nothing(
    words, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert main(["plugins", "new", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "taken"]


def test_every_offer_states_this_api_and_its_own_package():
    for kind in COMMANDS:
        hooks = rendered(kind, "a-b1")["ardistill_a_b1/__init__.py"]
        assert "ardistill_api = 1" in hooks
        assert 'name="a-b1"' in hooks
        assert "import torch" not in hooks


def test_hooks_that_nothing_marks_are_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "unmarked.py").write_text("ardistill_api = 1\ndef ardistill_metrics():\n    return []\n")
    info = tmp_path / "unmarked-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unmarked\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ardistill]\nunmarked = unmarked\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["plugins", "--strict"]) == 1
    assert (
        "unmarked:unmarked 1: it implements no hook; mark its functions with @hookimpl"
        in capsys.readouterr().out
    )
    del sys.modules["unmarked"]


@pytest.fixture
def shell(tmp_path):
    """Runs a command in an empty folder, where what is installed into `site` is found, and gives what it says.

    A folder of its own stands for an environment of its own: torch's would take gigabytes.
    """
    told = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def install(shell, source):
    shell(*PYTHON, "pip", "install", *OFFLINE, "--target", "site", source)


@pytest.mark.packages
def test_the_smallest_plugin_is_what_the_page_says(shell, tmp_path):
    """The two files of the page, installed, checked and run by its three commands."""
    shown = PAGE.read_text().partition("## The smallest one\n")[2].partition("\n## ")[0]
    files = dict(re.findall(r"`hello/([\w.]+)` .*?```\w+\n(.*?)```", shown, re.DOTALL))
    assert sorted(files) == ["hello.py", "pyproject.toml"]
    (tmp_path / "hello").mkdir()
    for name, text in files.items():
        (tmp_path / "hello" / name).write_text(text)
    pip, *others = re.search(r"```\n(pip .*?)```", shown, re.DOTALL)[1].splitlines()
    assert pip == "pip install -e ./hello"
    install(shell, "./hello")
    for line in others:
        _, *words = shlex.split(line)
        less = ["threads=1", "eval.n=60", "eval.speed.repeats=0"] if "run" in words else []
        said = shell(sys.executable, *words, *less)
    assert "seen" in said


@pytest.mark.packages
@pytest.mark.parametrize("kind", COMMANDS)
def test_it_installs_is_found_conforms_and_runs_at_once(kind, shell, tmp_path):
    name = f"my-{kind}"
    shell(*PYTHON, "ardistill", "plugins", "new", kind, name)
    install(shell, f"./ardistill-{name}")
    listed = shell(*PYTHON, "ardistill", "plugins", "--strict").splitlines()
    lines = [line.split() for line in listed if name in line.split()]
    assert lines
    assert all(line[-2:] == [f"ardistill-{name}", "0.1.0"] for line in lines)
    shell(*PYTHON, "pytest", "-q", f"ardistill-{name}/tests")
    assert " passed" in shell(*PYTHON, "ardistill", "plugins", "check", f"{kind}:{name}")
    _, *words = shlex.split(COMMANDS[kind].format(name=name))
    told_less = ["threads=1", "eval.n=100", "eval.speed.repeats=0", "out=run"] if "run" in words else []
    shorter = ["method.images=500"] if kind == "method" else []
    if kind == "teacher":
        amounts = ("tuning_samples", "tune_images", "guidance_images", "csd_images")
        shorter = [f"method.{amount}=240" for amount in amounts]
    if told_less:
        shell(sys.executable, *words, *told_less, *shorter)
        assert (tmp_path / "run" / "report.json").is_file()
    shell(
        *PYTHON,
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        "wheels",
        f"./ardistill-{name}",
    )
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [
        f"ardistill_my_{kind}-0.1.0-py3-none-any.whl"
    ]
