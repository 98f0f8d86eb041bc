"""Whether a command is one, as far as it can be told without doing its work: by the code that will read its words."""

import ast
import importlib.util
import re
import tomllib

import ardistill.cli.bench
import ardistill.cli.eval
import ardistill.cli.sample
from ardistill.assets.catalogue import asset
from ardistill.cli import VERBS, beginning, checking, subjects, take_option
from ardistill.cli.collect import CollectWords
from ardistill.cli.compare import CompareWords
from ardistill.cli.convert import ConvertWords
from ardistill.cli.fetch import FetchWords
from ardistill.cli.statistics import StatisticsWords
from ardistill.cli.table import TableWords
from ardistill.config import NoSettings, load, parse_words, structure_trees, structure_words
from ardistill.evaluation.tables.published import chosen
from ardistill.launch.sweeping.cells import cells
from tests.docs.commands import ROOT

PLACEHOLDER = re.compile(r"[A-Z]+(\.\.\.)?")
OF_KIND = {
    "tokenizer": subjects.OfTokenizer,
    "teacher": subjects.OfTeacher,
    "trajectory": subjects.OfTrajectory,
    "student": subjects.OfStudent,
    "method": subjects.OfMethod,
    "metric": subjects.OfMetric,
    "callback": subjects.OfCallback,
}
OF_READER = {"nox", "./mine", "./hello", "./ardistill-mine"}
"""What pages install that is no part of the repository."""
ELSEWHERE = {"my-distribution"}
"""What stands for a distribution of the reader's."""


def check(command, registry):
    """Raises where the command can't be meant to work."""
    if command.verb is not None:
        verb, words = command.verb
        assert verb in VERBS, verb
        if "--help" not in words:
            OF_VERB[verb](words, registry)
    else:
        OF_PROGRAM[command.argv[0]](list(command.argv[1:]), registry)


def bare(words):
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]


def run(words, registry):
    if any(word.startswith("resume=") for word in words):
        others = [word for word in words if not word.startswith("resume=")]
        assert all(word.startswith(("launcher=", "launcher.")) for word in others), others
        load(["method=dd2", "teacher=var", *others], registry=registry)
        return
    file, words = take_option(words, "--config")
    filled = ["method=dd2", "teacher=var"] if file is not None else []
    load([*filled, *(word for word in words if not word.endswith("=NAME"))], registry=registry)


def sweep(words, registry):
    if words and words[0] in ("status", "resume", "compare"):
        folders, others = bare(words[1:])
        assert len(folders) == 1, words
        assert not others or words[0] == "resume", words
        of_sweep = [] if any(word.startswith("launcher=") for word in others) else ["launcher=slurm"]
        load(["method=dd2", "teacher=var", *of_sweep, *others], registry=registry)
        return
    outs = [word for word in words if word.startswith("out=")]
    for cell in cells([word for word in words if word not in outs], registry):
        load([*cell.words, *outs], registry=registry)


def sample(words, registry):
    ardistill.cli.sample._structured(words, registry)


def evaluate(words, registry):
    if any(word.startswith("run=") for word in words):
        structure_trees([parse_words(words)], ardistill.cli.eval.EvalRun, registry)
    else:
        ardistill.cli.eval._structured(words, registry)


def bench(words, registry):
    ardistill.cli.bench.structured(words, registry)


def compare(words, registry):
    runs, others = bare(words)
    structure_words(others, CompareWords)
    assert runs


def table(words, registry):
    _, others = bare(words)
    given = structure_words(others, TableWords)
    assert chosen(given.model, given.method)


def fetch(words, registry):
    names, others = bare(take_option(words, "from")[1])
    structure_words(others, FetchWords)
    for name in names:
        if not PLACEHOLDER.fullmatch(name):
            asset(name)


def statistics(words, registry):
    given = structure_words(words, StatisticsWords)
    if not PLACEHOLDER.fullmatch(given.features):
        registry.get("features", given.features)


def collect(words, registry):
    structure_words(words, CollectWords, registry=registry)


def convert(words, registry):
    files, others = bare(words)
    structure_words(others, ConvertWords)
    assert files


def pretrain(words, registry):
    (name,), others = bare(words)
    rest = [word for word in others if not word.startswith("out=")]
    assert len(others) - len(rest) == 1, "one out="
    structure_words(rest, registry.config_class("recipe", name) or NoSettings, registry=registry)


def plugins(words, registry):
    if words[:1] == ["new"]:
        (kind, name), others = bare(words[1:])
        structure_words(others, beginning.NewWords)
        assert kind in beginning.COMMANDS, kind
        assert beginning.rendered(kind, name)
    elif words[:1] == ["check"]:
        name, *others = words[1:]
        if name in ELSEWHERE:
            return
        found, problems = checking.targets(name, registry)
        assert not problems
        checking._refuse_unread(others, found)
        for each in found:
            if each.offer.kind in OF_KIND and len(found) == 1:
                named = {each.offer.kind: each.offer.name}
                own = [word for word in others if word.partition("=")[0].partition(".")[0] == each.offer.kind]
                subjects._structured(own, OF_KIND[each.offer.kind], registry, **named)
    else:
        assert set(words) <= {"--json", "--strict"}, words


OF_VERB = {
    "run": run,
    "sweep": sweep,
    "sample": sample,
    "eval": evaluate,
    "bench": bench,
    "compare": compare,
    "table": table,
    "fetch": fetch,
    "statistics": statistics,
    "collect": collect,
    "convert": convert,
    "pretrain": pretrain,
    "plugins": plugins,
}


def python(words, registry):
    """A script of the repository whose docstring tells its words, or a module that is there."""
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None, words[1]
        return
    told = ast.get_docstring(ast.parse((ROOT / words[0]).read_text()))
    for word in words[1:]:
        key, equals, _ = word.strip("[]").partition("=")
        assert PLACEHOLDER.fullmatch(key) or f"{key}{equals}" in told, f"{words[0]} tells of no {word}"


def pip(words, registry):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    action, *rest = words
    assert action in ("install", "wheel"), action
    for before, word in zip(("", *rest), rest, strict=False):
        name, _, extras = word.rstrip("]").partition("[")
        if word.startswith("-") or before in ("--wheel-dir", "--target") or name in OF_READER:
            continue
        assert name == "ardistill" or (ROOT / name / "pyproject.toml").is_file(), word
        assert set(extras.split(",")) <= {"", *project["project"]["optional-dependencies"]}, word


def sessions():
    """The names of noxfile.py's sessions."""
    parts = ast.parse((ROOT / "noxfile.py").read_text()).body
    functions = [node for node in parts if isinstance(node, ast.FunctionDef)]
    return [each.name for each in functions if "nox.session" in map(ast.unparse, each.decorator_list)]


def nox(words, registry):
    asked = words[: words.index("--")] if "--" in words else words
    assert asked[0] == "-s"
    assert len(asked) > 1
    assert set(asked[1:]) <= {*sessions()}, asked


def paths(words, registry):
    """Of the repository, where they look like it."""
    for word in words:
        if re.match(r"(ardistill|benchmarks|docs|plugins|tests)/", word):
            assert (ROOT / word).exists(), word


def anything(words, registry):
    """Programs of the shell, whose words are the reader's folders."""


OF_PROGRAM = {
    "python": python,
    "pip": pip,
    "nox": nox,
    "pytest": paths,
    "mkdocs": paths,
    "tensorboard": anything,
    "git": anything,
    "mkdir": anything,
    "cd": anything,
    ".": anything,
}
