"""Axes of a plot: where a value lies, and which round numbers are written beside it."""

import math
from collections.abc import Iterable
from typing import Self

import attrs

WIDE = 8.0
"""The ratio of the largest value to the least from which an axis is logarithmic."""
_FEW, _MANY = 2, 6
"""Ticks that an axis aims at, at least and at most."""
_LEAST = 1e-6
"""As a share of the values, a difference that is seen; smaller ones are rounding."""
_FAR = 1e100
"""Numbers beyond it are none that a plot could show; those below its inverse count as 0."""


@attrs.frozen
class Scale:
    """An interval of values, linear or logarithmic, seen as 0..1."""

    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, values: Iterable[float], room: float = 0.07, linear: bool = False) -> Self:
        """Wide enough for the values and a little `room`, as a share, on both sides.

        Logarithmic where they are positive and wide, unless it has to be `linear`.
        """
        known = list(values)
        low, high = min(known), max(known)
        if not linear and low > 0 and high >= WIDE * low:
            start, end = math.log10(low), math.log10(high)
            margin = room * (end - start)
            return cls(10 ** (start - margin), 10 ** (end + margin), log=True)
        size = max(abs(low), abs(high))
        margin = room * (high - low) if high - low > _LEAST * size else 0.5 * size or 0.5
        return cls(low - margin, high + margin, log=False)

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers within the interval, in order."""
        return self._decades() if self.log else self._steps()

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for digits in ((1, 2, 5), (1, 3), (1,)):
            ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) <= _MANY:
                break
        inside = inside[:: math.ceil(len(inside) / _MANY)] if inside else inside
        return inside if len(inside) >= _FEW else self._steps()

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / (_MANY - 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(digit * power for digit in (1, 2, 2.5, 5, 10) if digit * power >= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def short(value: float) -> str:
    """A tick's number.

    >>> short(0.5), short(25_000), short(1_500_000), short(0.00002), short(0)
    ('0.5', '25k', '1.5M', '2e-05', '0')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.6g}{unit}"
    return f"{value:.6g}"


def number(value: object) -> float | None:
    """A number of a journal or a report that can be drawn; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _FAR:
        return None  # nan is not below anything
    return float(value) if abs(value) * _FAR >= 1 else 0.0
