"""What a file of weights holds: by its own words, else by its shapes. Shared by the plugins' loaders."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import cattrs
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.weights.naming import named
from ardistill.weights.reading import Weights

T = TypeVar("T")


def bundled_or(given: Path | None, bundled: Path | None, what: str, word: str) -> Path:
    """The given path, else the one bundled with the data; `word` is what a user writes to give one."""
    path = given or bundled
    if path is None:
        raise WeightsError(f"this data brings no weights for {what}; give {word}=PATH")
    return path


def described(weights: Weights, cls: type[T], kind: str) -> T | None:
    """The configuration that a file of ours carries, or None for a file that says nothing of itself."""
    if "kind" not in weights.about:
        return None
    if weights.about["kind"] != kind:
        raise WeightsError(f"{weights.where} holds {weights.about['kind']!r}, and {kind!r} is expected")
    try:
        return cattrs.structure(dict(weights.about.get("config", ())), cls)
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        raise WeightsError(f"{weights.where} describes its model in words this version can't read") from error


def deduced(read: Callable[[Mapping[str, Tensor]], T], weights: Weights, what: str) -> T:
    """The configuration that `read` finds in the shapes; `what` names the model, e.g. "a VAR transformer"."""
    try:
        return read(weights.tensors)
    except (KeyError, ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
        keys = ", ".join(map(named, sorted(weights.tensors)[:3]))
        raise WeightsError(
            f"{weights.where} does not hold {what} (its keys are like {keys or 'none at all'})"
        ) from error


def children(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered children a prefix such as "blocks." has."""
    return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})
