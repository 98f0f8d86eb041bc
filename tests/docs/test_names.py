"""What pages name of the code is there."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCES = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
DOTTED = re.compile(r"`(ardistill(?:_[a-z0-9]+)?(?:\.\w+)+)(?:\(.*?\))?`")
PATH = re.compile(r"`((?:ardistill|benchmarks|docs|plugins|tests)/[\w./-]*\w)(?:::(\w+))?`")


def named(dotted):
    """The object of a dotted name: the longest module that can be imported, then attributes."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        try:
            if importlib.util.find_spec(module) is None:
                continue
        except ModuleNotFoundError:
            continue
        found = importlib.import_module(module)
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_name_code_that_is_there(page):
    for dotted in set(DOTTED.findall(FENCES.sub("", page.read_text()))):
        named(dotted)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_name_files_and_tests_that_are_there(page):
    for path, test in set(PATH.findall(FENCES.sub("", page.read_text()))):
        assert (ROOT / path).exists(), path
        if test:
            assert f"def {test}(" in (ROOT / path).read_text(), test


def test_a_name_that_is_not_there_is_found_out():
    for dotted in ("ardistill.flow.ode_mop", "ardistill.flew", "ardistill.protocols.Student.leap"):
        with pytest.raises((AttributeError, ModuleNotFoundError)):
            named(dotted)


def test_docs_glossary_says_a_word_once():
    words = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    words = [word for word in words if word not in {"word", "---"}]
    assert len(words) > 60
    assert len(words) == len(set(words))
