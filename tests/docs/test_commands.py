"""Every command of the pages runs, or says what it lacks; all of them have words that the code knows.

Those that take minutes run with amounts that take seconds. CONTRIBUTING.md tells of the markers.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ardistill.__main__ import main
from ardistill.cli.beginning import COMMANDS, rendered
from ardistill.evaluation.tables.published import chosen
from ardistill.launch import folder as folders
from ardistill.plugins import discover
from ardistill.testing.practice import Quiet
from ardistill.testing.toy_method import ToyMethod
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.faults import Interrupted
from ardistill.training.loop import Trainer
from tests.digits.test_pretrain import TINY
from tests.docs.commands import PAGES, ROOT, Command, commands, split
from tests.docs.parsing import OF_PROGRAM, check, sessions

ID = {"ids": lambda page: page.parent.name + "/" + page.name if page.name == "README.md" else page.name}
LONGEST = 600
"""Seconds of a command that no marker says takes longer."""
JUDGED = {"eval.n": "100", "eval.steps": "1", "eval.speed.repeats": "0", "threads": "1"}
RUNS = ("python", "mkdir")
"""Programs that are run; of the others it is checked that what they name is there."""
OF_METHOD = {
    "dd1": {"method.n_pairs": "64", "method.images": "128", "method.batch": "16"},
    "dd2": {
        f"method.{each}": "240" for each in ("tuning_samples", "tune_images", "guidance_images", "csd_images")
    },
    "joint": {
        "method.n_pairs": "64",
        **{f"method.{each}": "96" for each in ("start_images", "guidance_images", "images")},
    },
}
OF_VERB = {
    "collect": {"n": "40", "threads": "1"},
    "bench": {"repeats": "1", "budget": "5", "batches": "1", "threads": "1"},
    "eval": {"n": "100", "speed.repeats": "0"},
    "sample": {"n": "8"},
}
PRETRAINED = {"digits": dict(word.split("=") for word in TINY), "maskgit": {"quick": "true"}}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages that has what the pages begin or install: plugins/extra, `mine` and `hello`."""
    site = tmp_path_factory.mktemp("site")
    points = {}
    for kind, name in (("method", "mine"), ("metric", "hello")):
        points[name] = (name, f"ardistill_{name}")
        for path, text in rendered(kind, name).items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(text)
    for folder in (page.parent for page in PAGES if page.parent.parent.name == "extra"):
        package = folder.name.replace("-", "_")
        (site / package).symlink_to(folder / package)
        points[folder.name] = (package.removeprefix("ardistill_"), package)
    for name, (point, package) in points.items():
        info = site / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[ardistill]\n{point} = {package}\n")
    return site


@pytest.fixture(scope="module")
def registry(site):
    packages = {path.name for path in site.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield discover()
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, **ID)
def test_docs_commands_have_words_that_are_known(page, registry):
    for command in commands(page):
        assert command.argv[0] in OF_PROGRAM or command.verb, f"{command}: what is {command.argv[0]}?"
        try:
            check(command, registry)
        except Exception as error:
            pytest.fail(f"{command}: {type(error).__name__}: {error}")


def test_docs_help_has_words_that_are_known(registry):
    """The commands of docs/reference.md, which are those of --help: a line each, and what it does after two spaces."""
    page = ROOT / "docs" / "reference.md"
    text = re.sub(r"\n {8}(?=\w+[.=])", " ", page.read_text())  # a command's second line
    lines = re.findall(r"^    (python -m ardistill .*?)(?:  .*)?$", text, re.MULTILINE)
    assert len(lines) > 30
    for line in lines:
        for argv in split(re.sub(r" \[[^\]]*\]", "", line)):
            try:
                check(Command(page, 0, argv), registry)
            except Exception as error:
                pytest.fail(f"{line}: {type(error).__name__}: {error}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES, **ID)
def test_docs_commands_run(page, site, tmp_path):
    """In the page's order, in one folder; a run that an earlier page has made is copied."""
    home = {"ARDISTILL_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(site)}
    for command in commands(page):
        if not command.shown or command.argv[0] not in RUNS or command.marked("needs", "tested by"):
            continue
        if command.marked("takes") and command.verb is None:
            continue  # nobody knows how to make it shorter
        argv = shortened(command) if command.marked("takes") else command.argv
        if argv in MADE:
            shutil.copytree(MADE[argv], folders.free_folder(tmp_path / "runs", MADE[argv].name[:-4]))
            continue
        program = [sys.executable, *argv[1:]] if argv[0] == "python" else argv
        before = {*tmp_path.glob("runs/*")}
        done = subprocess.run(
            program,
            cwd=tmp_path,
            env={**os.environ, **home},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        assert done.returncode == 0, f"{command}\nas {shlex.join(argv)}\n{done.stdout}{done.stderr}"
        new = [*{*tmp_path.glob("runs/*")} - before]
        if argv[3:4] == ("run",) and len(new) == 1:
            MADE[argv] = new[0]


MADE = {}
"""By command, the folder of its run."""


def shortened(command):
    """The same with amounts that take seconds."""
    verb, words = command.verb
    told = dict(word.split("=", 1) for word in words if "=" in word)
    smaller = OF_VERB.get(verb, {})
    if verb in ("run", "sweep") and "resume" not in told and "--config" not in words:
        smaller = {**JUDGED, **OF_METHOD[told["method"]]}
        if "eval.steps" in told:
            del smaller["eval.steps"]
    elif verb == "pretrain":
        smaller = PRETRAINED[words[0]]
    elif verb == "sample" and "n" not in told:
        smaller = {}
    kept = [word for word in words if word.partition("=")[0] not in smaller]
    return ("python", "-m", "ardistill", verb, *kept, *(f"{key}={value}" for key, value in smaller.items()))


def test_docs_markers_that_say_nothing_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.docs.commands.ROOT", tmp_path)
    page = tmp_path / "page.md"
    fence = "```\npip install nox\n```\n"
    for text, said in (
        (f"<!-- needs: money -->\n{fence}", "needs 'money'; known: "),
        (f"<!-- takes: long -->\n{fence}", "takes 'long'; write a time such as 5 min"),
        (f"<!-- takes: 5 min -->\n\n{fence}", "stands before no block"),
        (f"<!-- minutes -->\n{fence}", "<!-- minutes --> is no marker"),
        ("```ruby\n1\n```\n", "a fence of 'ruby'"),
    ):
        page.write_text(text)
        with pytest.raises(ValueError, match=re.escape(said)):
            commands(page)


def test_docs_commands_are_found_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.docs.commands.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "Say `python -m ardistill run a=1` or `python -m ardistill run`, `run`, `A=b c`.\n"
        "| `python -m ardistill fetch` <!-- needs: network --> | `pip install nox` |\n"
        "<!-- needs: gpu, weights -->\n<!-- takes: 5 min -->\n"
        "```bash\nX=1 torchrun --n=8 -m ardistill run b=2 \\\n    c=3  # as one line\nmkdir d && cd d\n```\n"
    )
    found = commands(page)
    assert [(each.line, shlex.join(each.argv), each.shown) for each in found] == [
        (1, "python -m ardistill run a=1", False),
        (2, "python -m ardistill fetch", True),
        (2, "pip install nox", False),
        (6, "torchrun --n=8 -m ardistill run b=2 c=3", True),
        (8, "mkdir d", True),
        (8, "cd d", True),
    ]
    assert found[3].verb == ("run", ["b=2", "c=3"])
    assert found[3].marks == (("needs", "gpu, weights"), ("takes", "5 min"))
    assert found[1].marks == (("needs", "network"),)


def test_docs_tell_of_every_session():
    told = re.findall(r"^\| `(\w+)` \| ", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(sessions())


@pytest.mark.slow
def test_docs_tutorial_shows_the_rows_that_are_printed(tmp_path, capsys):
    """Those that no training plays a part in, at the sizes of the command above them."""
    page = (ROOT / "docs" / "tutorial.md").read_text()
    block = page[page.index("```text") :].partition("```text\n")[2].partition("```")[0]
    verbs = [each.verb for each in commands(ROOT / "docs" / "tutorial.md") if each.verb]
    words = next(words for verb, words in verbs if verb == "run")
    less = [f"{key}={value}" for key, value in {**JUDGED, **OF_METHOD["dd1"]}.items() if key != "eval.n"]
    assert main(["run", *words, *less, f"out={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr().out
    for name in ("teacher", "onestep*", "skip-1"):
        shown, printed = (figures(name, text) for text in (block, said))
        assert len(printed) > 12
        assert shown[: len(printed)] == pytest.approx(printed, rel=0.02), name


def figures(name, text):
    """The numbers of a table's row, without the last four, which are of speed."""
    (line,) = re.findall(rf"^{re.escape(name)} +(.*)$", text, re.MULTILINE)
    return [float(cell.rstrip("xk")) for cell in line.split() if cell != "-"][:14]


def test_docs_tutorial_shows_what_a_stopped_run_says(tmp_path):
    trainer = Trainer(
        ToyMethod(), 0, torch.device("cpu"), Checkpoints(Path("runs/cut/checkpoints")), 1, None, Quiet()
    )
    with pytest.raises(Interrupted) as caught:
        trainer._leave(signal.SIGINT, 2048)
    assert f"\nardistill: {caught.value}\n" in (ROOT / "docs" / "tutorial.md").read_text()


def test_docs_tell_how_many_rows_are_published():
    told = re.findall(r"(\d+) published rows", (ROOT / "README.md").read_text())
    assert told == [str(len(chosen(None, None)))]


def test_docs_tell_what_can_be_begun(capsys):
    page = (ROOT / "docs" / "write-a-plugin.md").read_text()
    assert main(["plugins", "--help"]) == 0
    said = capsys.readouterr().out
    for kind in COMMANDS:
        assert f"`{kind}`" in page or f"plugins new {kind}" in page
        assert kind in said
