"""docs/reference.md tells every verb, every word that one can give, every hook and every record.

The tests look for what there is by other ways than docs/make_reference.py does.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import attrs
import pytest

import ardistill.cli
from ardistill import hookspecs, records
from ardistill.cli import VERBS
from ardistill.config import Section
from ardistill.plugins import HOOKS, KINDS, discover

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference.md").read_text()
PARTS = dict(re.findall(r"^### `(.*?)`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
PREFIXES = {"dataset": "data", "metric": "eval.metrics", "callback": "callbacks"}
SPECS = [
    node
    for node in ast.parse(inspect.getsource(hookspecs)).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("ardistill_")
]


def words_of(cls, prefix=""):
    """Every word of a configuration class, nested ones too."""
    for field in attrs.fields(attrs.resolve_types(cls)):
        if (
            inspect.isclass(field.type)
            and attrs.has(field.type)
            and field.type.__module__ != Section.__module__
        ):
            yield from words_of(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def chosen():
    """Everything that can be chosen by name and has words."""
    registry = discover()
    for kind in KINDS:
        for name in registry.names(kind):
            cls = registry.config_class(kind, name)
            if cls is not None and attrs.fields(cls):
                yield pytest.param(kind, name, cls, id=f"{kind}-{name}")


def classes_of_verbs():
    for found in pkgutil.iter_modules(ardistill.cli.__path__, "ardistill.cli."):
        module = importlib.import_module(found.name)
        for name, cls in vars(module).items():
            if (
                inspect.isclass(cls)
                and cls.__module__ == found.name
                and re.search(r"Words$|^From|^Of|^OnToy", name)
            ):
                yield pytest.param(cls, id=name)


def test_there_is_something_to_look_for():
    assert len(SPECS) == len(HOOKS) >= 11
    assert len(list(chosen())) > 20
    assert len(list(classes_of_verbs())) > 15


@pytest.mark.parametrize("verb", list(VERBS))
def test_docs_tell_every_verb_with_its_help(verb):
    assert f"### `{verb}`\n\n```text\n{inspect.getdoc(importlib.import_module(VERBS[verb]))}\n```" in PAGE


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_docs_tell_every_hook_with_its_exact_signature(spec):
    source = ast.get_source_segment(inspect.getsource(hookspecs), spec)
    signature = re.match(r"def (.*):  # type|def (.*):\n", source)
    told = PARTS[signature[1] or signature[2]]
    assert inspect.getdoc(getattr(hookspecs, spec.name)) in told


@pytest.mark.parametrize("record", records.OFFERS, ids=lambda record: record.__name__)
def test_docs_tell_every_record_with_its_fields(record):
    part = PARTS[record.__name__]
    assert inspect.getdoc(record) in part
    told = re.findall(r"^\| `(\w+)` \|", PARTS["Offer"] + part, re.MULTILINE)
    assert told == [field.name for field in attrs.fields(record)]


@pytest.mark.parametrize(("kind", "name", "cls"), list(chosen()))
def test_docs_tell_every_word_of_what_is_chosen(kind, name, cls):
    if kind == "recipe":
        part, prefix = PARTS[f"pretrain {name} out=DIR"], ""
    else:
        word = PREFIXES.get(kind, kind)
        part, prefix = PARTS[f"{word}={name}"], f"{word}."
        if kind in {"metric", "callback"}:
            prefix += f"{name}."
    for word in words_of(cls, prefix):
        assert f"| `{word}` |" in part, word


@pytest.mark.parametrize("cls", list(classes_of_verbs()))
def test_docs_tell_every_word_of_every_verb(cls):
    words = PAGE[PAGE.index("## Words") : PAGE.index("## Hooks")]
    for word in words_of(cls):
        assert re.search(rf"^\| `{re.escape(word)}` \|", words, re.MULTILINE), word


def test_docs_tell_what_is_looked_for_and_nothing_else():
    """A word that is told belongs to something."""
    for title, part in PARTS.items():
        for word in re.findall(r"^\| `([\w.]+)` \|", part, re.MULTILINE):
            if title.split("=")[0] in {
                "method",
                "teacher",
                "student",
                "tokenizer",
                "trajectory",
                "data",
                "launcher",
            }:
                assert word.startswith(f"{title.split('=')[0]}."), (title, word)
