"""The papers' figures, and how each was measured as far as its source tells. Free of torch."""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import attrs
from cattrs import Converter

from ardistill.errors import ConfigError
from ardistill.wording import listed, shown


@attrs.frozen
class Source:
    """Where rows are from; `cite` is what a table has room for."""

    cite: str
    title: str
    url: str


@attrs.frozen
class Stated:
    """A protocol as `by` tells it; None is what it does not tell. `top_k` of 0 and `top_p` of 1 filter nothing."""

    by: str
    n: int | None = None
    labels: str | None = None
    reference: str | None = None
    evaluator: str | None = None
    cfg: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    remark: str | None = None

    def line(self) -> str:
        """In one line, with what is missing."""
        words = {
            "n": None if self.n is None else f"{self.n:,} images",
            "labels": self.labels,
            "reference": None if self.reference is None else f"reference: {self.reference}",
            "evaluator": None if self.evaluator is None else f"evaluator: {self.evaluator}",
            "cfg": None if self.cfg is None else f"cfg {self.cfg:g}",
            "top-k": None if self.top_k is None else f"top-k {self.top_k or 'off'}",
            "top-p": None if self.top_p is None else f"top-p {self.top_p:g}",
        }
        said = [word for word in (*words.values(), self.remark) if word is not None]
        missing = [name for name, word in words.items() if word is None]
        end = f"; not stated: {', '.join(missing)}" if missing else ""
        return f"{', '.join(said)} ({self.by}{end})"


@attrs.frozen
class Figures:
    """What a paper prints of one generator. `passes` is its number of steps, seconds are for one image."""

    model: str
    method: str
    passes: int
    fid: float
    isc: float | None = None
    precision: float | None = None
    recall: float | None = None
    parameters: float | None = None
    seconds: float | None = None
    note: str | None = None


@attrs.frozen
class Published:
    """One generator's figures, with how they were measured and where they are printed."""

    figures: Figures
    protocol: Stated
    source: Source
    place: str

    @property
    def where(self) -> str:
        note = f" ({self.figures.note})" if self.figures.note else ""
        return f"{self.source.cite}, {self.place}{note}"


@attrs.frozen
class _Table:
    """Rows of one table that share a protocol."""

    source: str
    place: str
    protocol: str
    rows: tuple[Figures, ...]


@attrs.frozen
class _Shelf:
    sources: Mapping[str, Source]
    protocols: Mapping[str, Stated]
    tables: tuple[_Table, ...]


def _exactly(*kinds: type) -> Callable[[Any, type], Any]:
    def structure(value: Any, cls: type) -> Any:
        if type(value) not in kinds:
            raise TypeError(f"{value!r} is not {cls.__name__}")
        return cls(value)

    return structure


def _strict() -> Converter:
    made = Converter(forbid_extra_keys=True)
    made.register_structure_hook(str, _exactly(str))
    made.register_structure_hook(int, _exactly(int))
    made.register_structure_hook(float, _exactly(int, float))
    return made


def read(text: str) -> tuple[Published, ...]:
    """The rows of a file like `published.toml`, in its order. Anything unknown or of another type is an error."""
    shelf = _strict().structure(tomllib.loads(text), _Shelf)
    return tuple(
        Published(figures, shelf.protocols[table.protocol], shelf.sources[table.source], table.place)
        for table in shelf.tables
        for figures in table.rows
    )


@cache
def published() -> tuple[Published, ...]:
    """Every row that this package ships."""
    return read((files("ardistill.evaluation.tables") / "published.toml").read_text(encoding="utf-8"))


def chosen(model: str | None = None, method: str | None = None) -> tuple[Published, ...]:
    """The rows of a model and of a method, None meaning all.

    A name stands for its kind as well: VAR for VAR-d16, dd1 for "dd1 pre-trained-4-6"; and what a paper prints of VAR
    in general belongs to VAR-d16 too. Raises ConfigError with the known names where nothing is left.
    """
    rows = published()
    if model is not None and not any(_is_of(row.figures.model, model) for row in rows):
        raise ConfigError(
            f"nothing published has model={shown(model)}; known: {_names(row.figures.model for row in rows)}"
        )
    of_model = [row for row in rows if model is None or _same_kind(row.figures.model, model)]
    found = [row for row in of_model if method is None or _is_of(row.figures.method, method)]
    if not found:
        whose = "" if model is None else f" of {model}"
        known = _names(row.figures.method for row in of_model)
        raise ConfigError(f"nothing published{whose} has method={shown(method)}; known: {known}")
    return tuple(found)


def _is_of(name: str, kind: str) -> bool:
    return name == kind or name.startswith((f"{kind}-", f"{kind} "))


def _same_kind(name: str, given: str) -> bool:
    return _is_of(name, given) or _is_of(given, name)


def _names(names: Iterable[str]) -> str:
    return listed(dict.fromkeys(names))
