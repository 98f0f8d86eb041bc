"""Writes docs/reference.md from the code; a test holds the file to what this makes.

python docs/make_reference.py
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from ardistill import hookspecs, records
from ardistill.cli import VERBS, subjects
from ardistill.cli.beginning import NewWords
from ardistill.cli.collect import CollectWords
from ardistill.cli.compare import CompareWords
from ardistill.cli.convert import ConvertWords
from ardistill.cli.eval import EvalRun, EvalStudent
from ardistill.cli.fetch import FetchWords
from ardistill.cli.sample import FromRun, FromStudent, FromTeacher
from ardistill.cli.statistics import StatisticsWords
from ardistill.cli.table import TableWords
from ardistill.config import RunConfig, Section, TeacherWords
from ardistill.config.bench import BenchMethod, BenchStudent, BenchTeacher
from ardistill.config.launching import LAUNCHERS
from ardistill.config.layers import nested_class, presets_of
from ardistill.config.section import plain
from ardistill.config.values import describe
from ardistill.plugins import HOOKS, Registry, discover

HERE = Path(__file__).parent
SECTIONS = {
    "method": ("method", "method."),
    "teacher": ("teacher", "teacher."),
    "student": ("student", "student."),
    "tokenizer": ("tokenizer", "tokenizer."),
    "trajectory": ("trajectory", "trajectory."),
    "dataset": ("data", "data."),
    "metric": ("eval.metrics", "eval.metrics.NAME."),
    "callback": ("callbacks", "callbacks.NAME."),
    "launcher": ("launcher", "launcher."),
}
"""By kind: the word that chooses one of its offers, and what the words of that one begin with."""
FORMS: Sequence[tuple[str, str, type, tuple[type, ...]]] = (
    ("run", "`--config FILE` and `resume=DIR` are told above; a new run takes", RunConfig, ()),
    ("sample run=DIR", "", FromRun, ()),
    ("sample teacher=NAME", "", FromTeacher, ()),
    ("sample student=NAME", "All words of `sample teacher=NAME`, and", FromStudent, (FromTeacher,)),
    ("eval run=DIR", "", EvalRun, ()),
    (
        "eval student=NAME",
        "`teacher`, `data`, `device`, `threads` as for `run`, the words of `eval run=DIR` but `run`, and",
        EvalStudent,
        (TeacherWords, EvalRun),
    ),
    ("bench teacher=NAME", "", BenchTeacher, ()),
    ("bench method=NAME", "All words of `bench teacher=NAME`, and", BenchMethod, (BenchTeacher,)),
    ("bench student=NAME", "All words of `bench teacher=NAME`, and", BenchStudent, (BenchTeacher,)),
    ("compare RUN...", "", CompareWords, ()),
    ("table [RUN...]", "", TableWords, ()),
    ("fetch [NAME...]", "", FetchWords, ()),
    ("statistics", "", StatisticsWords, ()),
    ("collect", "", CollectWords, ()),
    ("convert FILE...", "", ConvertWords, ()),
    ("plugins new KIND NAME", "", NewWords, ()),
)
"""A verb's form, what is said of it, its class, and the classes whose words are told elsewhere."""

WORDS = """\
A word is `key=value`. Lists are written with commas: `eval.steps=1,2`. Values that are not given are the defaults
below, or a preset's.

A preset is a named set of values: `method.preset=var-d16`; words given beside it win. `quick=true` applies the presets
called `quick`.

The words of a section chosen by name (`method=dd2`, `teacher=var`, `student=var-dd1`) have tables of their own further
down; every form that takes `teacher` takes the words of `teacher.*` too, and likewise for the others. No verb takes
`tokenizer=NAME`: its words are arguments of `ardistill.load_tokenizer` in Python, and a teacher's tokenizer is set by
`teacher.tokenizer.*`.

`threads=0` uses every core that the process may run on, whatever `OMP_NUM_THREADS` says."""


def reference() -> str:
    registry = discover()
    parts = [
        "# Reference",
        "Made by `python docs/make_reference.py`; a test fails when it is out of date.",
        "## Verbs",
        *(part for verb in VERBS for part in _verb(verb)),
        "## Words",
        WORDS,
        *(part for form in FORMS for part in _form(*form)),
        *_checked(),
        *(part for name in registry.names("recipe") for part in _recipe(registry, name)),
        *(part for kind in SECTIONS for part in _sections(registry, kind)),
        "## Hooks",
        "A hook is a function of a plugin's module, decorated by `ardistill.hookspecs.hookimpl`; it yields records.",
        *(part for hook in HOOKS for part in _hook(hook)),
        "## Records",
        "Every record has the fields of `Offer`, and takes them by name.",
        *(part for record in (records.Offer, *records.OFFERS) for part in _record(record)),
        "## Plugins",
        _plugins(registry),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _verb(verb: str) -> Iterator[str]:
    yield f"### `{verb}`"
    yield f"```text\n{inspect.getdoc(import_module(VERBS[verb]))}\n```"


def _form(title: str, said: str, cls: type, told: tuple[type, ...]) -> Iterator[str]:
    yield f"### `{title}`"
    known = {field.name for other in told for field in attrs.fields(other)}
    yield f"{said}:" if said else inspect.getdoc(cls) or ""
    yield from _words(cls, "", known)


def _recipe(registry: Registry, name: str) -> Iterator[str]:
    cls = registry.config_class("recipe", name)
    if cls is not None and attrs.fields(cls):
        yield f"### `pretrain {name} out=DIR`"
        yield inspect.getdoc(cls) or ""
        yield from _words(cls, "")


def _checked() -> Iterator[str]:
    """The words of `plugins check`: of each kind of thing that can be checked, those of a class of its own."""
    yield "### `plugins check NAME`"
    yield "Besides the words of what is checked, as far as it depends on them:"
    rows = {}
    for cls in vars(subjects).values():
        if inspect.isclass(cls) and attrs.has(cls) and cls.__module__ == subjects.__name__:
            rows.update({row[0]: row for row in _fields(cls, "", set())})
    yield _table(
        (key, kind, default.replace("required", ""), meaning) for key, kind, default, meaning in rows.values()
    )


def _sections(registry: Registry, kind: str) -> Iterator[str]:
    """What can be chosen of a kind, with its words: the core's own first."""
    word, prefix = SECTIONS[kind]
    own = LAUNCHERS.own if kind == "launcher" else {}
    for name, settings in own.items():
        yield from _section(f"{word}={name}", settings, prefix)
    for name in registry.names(kind):
        cls = registry.config_class(kind, name)
        if cls is not None and attrs.fields(cls):
            yield from _section(f"{word}={name}", cls, prefix.replace("NAME", name))


def _section(title: str, cls: type, prefix: str) -> Iterator[str]:
    yield f"### `{title}`"
    yield inspect.getdoc(cls) or ""
    yield from _words(cls, prefix)


def _words(cls: type, prefix: str, known: set[str] | None = None) -> Iterator[str]:
    """The table of a class's words, those that must be given first, and its presets."""
    rows = sorted(_fields(cls, prefix, known or set()), key=lambda row: row[2] != "required")
    yield _table(rows)
    presets = list(_presets(cls, prefix))
    if presets:
        yield "\n".join(presets)


def _table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    return "\n".join(
        ["| word | value | default | meaning |", "|---|---|---|---|", *(_row(*row) for row in rows)]
    )


def _fields(cls: type, prefix: str, known: set[str]) -> Iterator[tuple[str, str, str, str]]:
    """Key, value, default and meaning of every word of a config class, nested ones under their prefix."""
    meanings = _meanings(cls)
    for field in attrs.fields(attrs.resolve_types(cls)):
        key, inner = f"{prefix}{field.name}", nested_class(field.type)
        if field.name in known:
            continue
        if inner is not None:
            yield from _fields(inner, f"{key}.", set())
        elif field.type is Section:
            default = field.metadata.get("default")
            kind = field.metadata["kind"]
            told = f"`{default}`" if default else "required"
            yield key, f"the name of a {kind}", told, meanings.get(field.name, "")
        else:
            value = describe(field.type).replace("finite number", "number")
            yield key, value, _default(field.default), meanings.get(field.name, "")


def _meanings(cls: type) -> dict[str, str]:
    """The string that follows a field in the source, the subclass's over those of its bases."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if not attrs.has(owner):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                assert isinstance(field.target, ast.Name)
                found[field.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return found


def _default(value: Any) -> str:
    if value is attrs.NOTHING:
        return "required"
    value = value.factory() if isinstance(value, attrs.Factory) else value  # type: ignore[arg-type]
    return f"`{_shown(value)}`" if value not in {"", ()} else ""


def _shown(value: object) -> str:
    """A value as a word gives it."""
    told = plain(value)
    if isinstance(told, list):
        return ",".join(map(_shown, told))
    if isinstance(told, float):
        return f"{told:g}"
    return str(told).lower() if isinstance(told, bool) else str(told)


def _row(key: str, kind: str, default: str, meaning: str) -> str:
    return f"| `{key}` | {kind} | {default} | {meaning} |".replace("  |", " |")


def _presets(cls: type, prefix: str) -> Iterator[str]:
    """A line for each preset of a class and of those nested in it."""
    implied: dict[str, Any] = getattr(cls, "teacher_words", dict)()
    empty = []
    for name, values in presets_of(cls).items():
        if not values:
            empty.append(f"`{name}`")
            continue
        told = ", ".join(_assigned(values, ""))
        teacher = implied.get(name, {})
        more = "".join(f", {word}" for word in _assigned(teacher, "teacher."))
        yield f"* `{prefix}preset={name}`: {told}{more.replace('`teacher.name=', '`teacher=')}"
    if empty:
        yield f"* `{prefix}preset` is one of {', '.join(empty)}; they set no values, and the weights are held to them."
    for field in attrs.fields(attrs.resolve_types(cls)):
        inner = nested_class(field.type)
        if inner is not None:
            yield from _presets(inner, f"{prefix}{field.name}.")


def _assigned(values: Any, prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _assigned(value, f"{prefix}{key}.")
        else:
            yield f"`{prefix}{key}={_shown(value)}`"


def _hook(hook: str) -> Iterator[str]:
    """As the plugin writes it: the source's own signature."""
    function = getattr(hookspecs, hook)
    spec = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(spec, ast.FunctionDef)
    assert spec.returns is not None
    yield f"### `{hook}({ast.unparse(spec.args)}) -> {ast.unparse(spec.returns)}`"
    yield inspect.getdoc(function) or ""


def _record(record: Any) -> Iterator[str]:
    base = set() if record is records.Offer else {field.name for field in attrs.fields(records.Offer)}
    yield f"### `{record.__name__}`"
    yield inspect.getdoc(record) or ""
    meanings = _meanings(record)
    lines = [
        _row(
            field.name,
            f"`{_typed(record, field.name)}`",
            _default(field.default),
            meanings.get(field.name, ""),
        )
        for field in attrs.fields(record)
        if field.name not in base
    ]
    if lines:
        yield "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *lines])


def _typed(record: type, name: str) -> str:
    """A field's type as the source has it."""
    for owner in record.__mro__:
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for line in body.body:
            if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == name:
                return ast.unparse(line.annotation).replace("|", "or")
    raise AssertionError(f"{record.__name__}.{name} has no annotation")


def _plugins(registry: Registry) -> str:
    lines = ["| kind | name | summary |", "|---|---|---|"]
    lines += [
        f"| {found.offer.kind} | `{found.offer.name}` | {found.offer.summary} |"
        for found in registry.offers()
        if found.origin.distribution == "ardistill"
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    HERE.joinpath("reference.md").write_text(reference())
