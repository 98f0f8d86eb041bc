"""Small things every family needs: how a fixture was called, arrays that are there, arrays of all scales."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from golden import Fixture, FixtureError
from torch import Tensor

Triple = tuple[str, Tensor, Tensor]
"""The name of an array, what this code gives, what was recorded."""

_SHOWN = 5
_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


def call(fixture: Fixture, name: str) -> Mapping[str, float]:
    """The settings in the words of the json's `calls`, e.g. "top_k=1 cfg=1.5" or "torch.manual_seed(5); top_p=.9".

    A seed given either way is `seed`; True and False are 1 and 0.
    """
    words = str(fixture.info.get("calls", {}).get(name, ""))
    found = {key: float(value) for key, value in re.findall(rf"(\w+)=({_NUMBER})", words)}
    found |= {key: float(value == "True") for key, value in re.findall(r"(\w+)=(True|False)", words)}
    for seed in re.findall(r"manual_seed\((\d+)\)", words):
        found["seed"] = float(seed)
    if "g_seed" in found:
        found["seed"] = found.pop("g_seed")
    return found


def generator(fixture: Fixture, name: str) -> torch.Generator:
    """Torch's generator as the call began with it. Raises FixtureError where the json tells no seed."""
    said = call(fixture, name)
    if "seed" not in said:
        raise FixtureError(f"its json does not say calls.{name} with a seed")
    return torch.Generator().manual_seed(int(said["seed"]))


def compared(fixture: Fixture, got: Mapping[str, Tensor]) -> Iterator[Triple]:
    """Each tensor with the array of its name, where the fixture holds one."""
    for name, tensor in got.items():
        if name in fixture:
            yield name, tensor, fixture[name]


def numbered(fixture: Fixture, prefix: str) -> dict[int, str]:
    """The arrays `prefix0`, `prefix1`, ... in order, by their numbers."""
    found = (re.fullmatch(re.escape(prefix) + r"(\d+)", name) for name in fixture)
    return dict(sorted((int(match[1]), match[0]) for match in found if match))


def in_order(fixture: Fixture, prefix: str) -> Tensor:
    """The arrays `prefix0`, `prefix1`, ... (B, n, ...) side by side, (B, L, ...)."""
    return torch.cat([fixture[name] for name in numbered(fixture, prefix).values()], dim=1)


def each(fixture: Fixture, prefix: str, function: Callable[[int], Tensor]) -> Iterator[Triple]:
    """The arrays `prefix0`, `prefix1`, ... with what the function gives for their numbers."""
    for number, name in numbered(fixture, prefix).items():
        yield name, function(number), fixture[name]


def as_logits(log_probs: Tensor, recorded: Tensor) -> Tensor:
    """Log-probabilities (..., V) as logits, by the recorded logits' own normaliser, which no distribution can tell."""
    return log_probs + recorded.logsumexp(-1, keepdim=True)


def listed(words: Sequence[str], between: str = ", ") -> str:
    """A few of them, and how many more."""
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return between.join(words[:_SHOWN]) + more
