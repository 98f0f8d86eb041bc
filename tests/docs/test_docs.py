"""The documentation names all there is, and nothing that is not there."""

import importlib.util
import re
from pathlib import Path

import pytest

from ardistill.cli import VERBS
from ardistill.config import parse_words
from ardistill.plugins import HOOKS, KINDS, discover

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")
COMMAND = re.compile(r"python -m ardistill (\w+)(.*)")


def test_docs_reference_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "reference.md").read_text() == module.reference(), (
        "out of date; run: python docs/make_reference.py"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_links_lead_somewhere(page):
    for target, _ in LINK.findall(page.read_text()):
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
            registry.get(
                "method", chosen["method"]["name"] if isinstance(chosen["method"], dict) else chosen["method"]
            )


def test_docs_on_plugins_name_every_hook_and_record():
    page = (ROOT / "docs" / "write-a-plugin.md").read_text()
    for hook in HOOKS:
        assert f"`{hook}`" in page
    assert len(re.findall(r"^\| `ardistill_", page, re.MULTILINE)) == len(KINDS)


def test_docs_are_reached_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, page.name
