"""The table of training steps: a result's rows, or that it was not measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from training_parts.result import COLUMNS, Result, cells, notes


def results(folder: Path, expected: Sequence[str]) -> Mapping[str, Result | None]:
    """By name: those that are expected, then others; None is what was not measured."""
    found = {path.stem: Result.load(path) for path in sorted(folder.glob("*.json"))}
    return {**dict.fromkeys(expected), **found}


def columns() -> Sequence[str]:
    return ["", "device", "precision", *COLUMNS]


def lines(name: str, result: Result | None, device: str, methods: Sequence[str]) -> list[Sequence[str]]:
    """A line a row; of what was not measured one a method."""
    if result is None:
        return [[name, "", "", method, "not measured", *[""] * (len(COLUMNS) - 2)] for method in methods]
    return [[name, device, str(result.config["precision"]), *cells(row)] for row in result.rows]


def told(name: str, result: Result) -> str:
    """What the table does not hold."""
    versions = ", ".join(f"{what} {version}" for what, version in result.versions.items())
    words = [f"{name}: {result.date[:10]}, {versions}", f"`{result.command}`", *notes(result)]
    return "; ".join(words) + "."
