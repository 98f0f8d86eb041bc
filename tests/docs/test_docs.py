"""The documentation names all there is, and nothing that is not there."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

import ardistill
from ardistill.cli import VERBS
from ardistill.cli.collect import CollectWords
from ardistill.cli.compare import CompareWords
from ardistill.cli.convert import ConvertWords
from ardistill.cli.eval import EvalRun, EvalStudent
from ardistill.cli.sample import FromRun, FromStudent, FromTeacher
from ardistill.config import RunConfig, parse_words
from ardistill.plugins import HOOKS, KINDS, discover

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")
CODE = re.compile(r"```.*?```", re.DOTALL)
COMMAND = re.compile(r"python -m ardistill (\w+)(.*)")


def test_docs_reference_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "reference.md").read_text() == module.reference(), (
        "out of date; run: python docs/make_reference.py"
    )


@pytest.mark.parametrize(
    ("title", "cls"),
    [
        ("run", RunConfig),
        ("sample run=DIR", FromRun),
        ("sample teacher=NAME", FromTeacher),
        ("sample student=NAME", FromStudent),
        ("eval run=DIR", EvalRun),
        ("eval student=NAME", EvalStudent),
        ("compare RUN...", CompareWords),
        ("collect", CollectWords),
        ("convert FILE...", ConvertWords),
    ],
)
def test_docs_reference_tells_every_word_of_a_verb(title, cls):
    """In the form's own part, or in one that it refers to."""
    page = (ROOT / "docs" / "reference.md").read_text()
    parts = dict(re.findall(r"^### `(.*?)`\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE))
    said = parts[title] + "".join(parts[other] for other in parts if f"`{other}`" in parts[title])
    for field in attrs.fields(cls):
        assert re.search(rf"`{field.name}[`.]", said), field.name


def test_docs_reference_tells_meanings_and_presets():
    page = (ROOT / "docs" / "reference.md").read_text()
    assert "| Images between two checkpoints. |" in page  # the docstring of an attribute
    assert "* `eval.preset=quick`: `n=1000`" in page
    assert "`head.width=1024`" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_links_lead_somewhere(page):
    for target, _ in LINK.findall(CODE.sub("", page.read_text())):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_commands_are_commands(page):
    """Every verb is one, and every word of a `run` names a key and a plugin that exist."""
    registry = discover()
    for verb, rest in COMMAND.findall(page.read_text()):
        assert verb in VERBS, verb
        words = [word.strip("`") for word in rest.split() if "=" in word]
        if verb == "run" and any(word.startswith("method=") for word in words):
            chosen = parse_words([word for word in words if "DIR" not in word])
            name = chosen["method"]["name"] if isinstance(chosen["method"], dict) else chosen["method"]
            assert name == "mine" or registry.get("method", name)  # that of write-a-plugin.md is run below


def test_docs_on_plugins_name_every_hook_and_record():
    page = (ROOT / "docs" / "write-a-plugin.md").read_text()
    for hook in HOOKS:
        assert f"`{hook}`" in page
    assert len(re.findall(r"^\| `ardistill_", page, re.MULTILINE)) == len(KINDS)


def test_docs_are_reached_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, page.name


def test_docs_on_python_name_what_the_package_has():
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("checkpoints.md", "python.md"))
    names = set(re.findall(r"ardistill\.(\w+)\(", pages)) | set(re.findall(r"`(\w+)\(", pages))
    known = set(ardistill.__all__) - {"__version__"}
    assert {name for name in names if hasattr(ardistill, name)} | {"load_dataset"} == known
    assert "`load_dataset`" in pages


@pytest.mark.slow
def test_docs_on_python_run_as_they_stand(tmp_path):
    """Both blocks of the page, one after the other, in one folder."""
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "page.py").write_text("\n".join(blocks) + "\nassert images.shape == (8, 3, 16, 16)\n")
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "zero.png").is_file()


def run(words, **environment):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_docs_on_plugins_show_a_method_that_runs(tmp_path):
    """The page's four files, installed, listed, distilled with, and drawn from."""
    page = (ROOT / "docs" / "write-a-plugin.md").read_text()
    shown = page[page.index("## A method in four files") : page.index("## The hooks")]
    project = tomllib.loads(re.search(r"```toml\n(.*?)```", shown, re.DOTALL)[1])
    for name in re.findall(r"^  mine/(\w+\.py)", shown, re.MULTILINE):
        file = tmp_path / "mine" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            re.search(rf"^`mine/{name}` .*?```python\n(.*?)```", shown, re.DOTALL | re.MULTILINE)[1]
        )
    installed = tmp_path / "mine-0.1.dist-info"  # what pip would leave of pyproject.toml
    installed.mkdir()
    about = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    installed.joinpath("METADATA").write_text(about.format(**project["project"]))
    points = project["project"]["entry-points"]["ardistill"]
    installed.joinpath("entry_points.txt").write_text(
        "[ardistill]\n" + "".join(f"{name} = {module}\n" for name, module in points.items())
    )

    command = ["-m", "ardistill"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    listed = run([*command, "plugins"], PYTHONPATH=path)
    assert "one line for the plugin table" in listed
    assert "problems" not in listed
    out = tmp_path / "run"
    small = ["quick=true", "threads=1", "method.images=100", "eval.n=60", "eval.steps=1", f"out={out}"]
    assert "mine, 1 pass" in run([*command, "run", "method=mine", "teacher=var", *small], PYTHONPATH=path)
    run([*command, "sample", f"run={out}", f"out={tmp_path / 'a.png'}", "n=2"], PYTHONPATH=path)
    assert (tmp_path / "a.png").stat().st_size


def test_docs_of_the_exact_lab_are_its_help():
    said = run(["benchmarks/exact.py", "--help"])
    for word in ("method=dd2", "teacher=sparse", "seed=1", "out="):
        assert word in said
