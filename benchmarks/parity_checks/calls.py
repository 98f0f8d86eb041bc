"""Small things every family needs: how a fixture was called, arrays that are there, arrays of all scales."""

import re
from collections.abc import Callable, Iterator, Mapping

import torch
from golden import Fixture
from torch import Tensor

Triple = tuple[str, Tensor, Tensor]
"""The name of an array, what this code gives, what was recorded."""

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
