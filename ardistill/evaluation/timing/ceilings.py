"""What a device reaches at best, measured: operations a second in a large product, bytes a second in a large copy."""

from collections.abc import Callable
from functools import partial

import attrs
import torch
from torch import Tensor, nn

from ardistill.evaluation.timing.rounds import Bench
from ardistill.forwards import packed

_REPEATS = 5
_SIDES = {"cuda": 8192}
_OTHER_SIDE = 1024
"""Of the square matrices: a product that keeps the device busy for milliseconds, and not for long."""
_COPIED = {"cuda": 1 << 30}
_OTHER_COPIED = 1 << 26
"""Bytes copied: far more than a cache holds, on a CPU at least more than most."""


@attrs.frozen
class Ceilings:
    """`flops` are those of a product of two square matrices of that side; `bytes` counts reading and writing."""

    flops: float
    """A second."""
    bytes: float
    """A second."""
    side: int
    copied: int


def ceilings(bench: Bench, dtype: torch.dtype) -> Ceilings:
    """The best of a few calls each, after one that does not count, in the precision that is set.

    Of a CPU's libraries the faster one counts: PyTorch hands products to one and convolutions to another.
    """
    kind = bench.device.type
    side, copied = _SIDES.get(kind, _OTHER_SIDE), _COPIED.get(kind, _OTHER_COPIED)
    left_NN, right_NN = (_numbers(side * side, dtype, bench.device).view(side, side) for _ in range(2))
    seconds = _fastest(bench, partial(torch.mm, left_NN, right_NN))
    layer = nn.Linear(side, side, bias=False, device="meta")
    layer.weight = nn.Parameter(right_NN, requires_grad=False)
    with packed(layer):
        seconds = min(seconds, _fastest(bench, partial(layer, left_NN)))
    del left_NN, right_NN, layer
    source, target = (_numbers(copied // 4, torch.float32, bench.device) for _ in range(2))
    return Ceilings(
        2 * side**3 / seconds, 2 * copied / _fastest(bench, partial(target.copy_, source)), side, copied
    )


def _numbers(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Small ones that no product overflows, and no two alike: equal ones would cost a GPU less power."""
    return torch.linspace(-1, 1, size, device=device).to(dtype)


def _fastest(bench: Bench, call: Callable[[], Tensor]) -> float:
    """Seconds of the fastest call."""
    bench.elapsed(call)
    return min(max(bench.elapsed(call), 1e-9) for _ in range(_REPEATS))
