"""Drawings as plain geometry in the units of an SVG's view box; the template makes SVG of them, and styles colour it.

A plot is as wide on a telephone as beside two others on a large screen, so its text is as large as the page's.
"""

from collections.abc import Callable, Iterable, Sequence

import attrs

from ardistill.evaluation.page.scales import Scale, short

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 38
_LETTER, _LINE = 7, 12
"""A character's width and a line's height, to keep labels apart."""
Style = str
"""A class of the style sheet: "teacher", "baseline", or "s0" to "s5" for a student."""


@attrs.frozen
class Tick:
    at: float
    text: str


@attrs.frozen
class Stroke:
    """A path through points, or the outline of an area."""

    style: Style
    path: str


@attrs.frozen
class Rule:
    """A level line across the plot, named at its right end."""

    style: Style
    y: float
    name: str
    tip: str


@attrs.frozen
class Mark:
    """A point. `tip` is told when a pointer rests on it; `label` stands beside it."""

    style: Style
    shape: str
    x: float
    y: float
    tip: str
    label: str
    label_x: float
    label_y: float
    anchor: str


@attrs.frozen
class Plot:
    """What the template draws."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    areas: tuple[Stroke, ...] = ()
    lines: tuple[Stroke, ...] = ()
    rules: tuple[Rule, ...] = ()
    marks: tuple[Mark, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@attrs.frozen
class Frame:
    """Two scales over the plot's rectangle. `write_x` words a tick of the axis."""

    x: Scale
    y: Scale
    write_x: Callable[[float], str] = short
    write_y: Callable[[float], str] = short

    def right(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * self.x.place(value)

    def down(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.y.place(value)

    def x_ticks(self) -> tuple[Tick, ...]:
        return tuple(Tick(self.right(value), self.write_x(value)) for value in self.x.ticks())

    def y_ticks(self) -> tuple[Tick, ...]:
        return tuple(Tick(self.down(value), self.write_y(value)) for value in self.y.ticks())

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """Straight lines through (x, y) values."""
        return "M" + "L".join(f"{self.right(x):.1f} {self.down(y):.1f}" for x, y in points)


@attrs.frozen
class Point:
    """A mark before it has a place for its label."""

    style: Style
    shape: str
    x: float
    y: float
    label: str
    tip: str


def marks(points: Sequence[Point], frame: Frame) -> tuple[Mark, ...]:
    """Each label goes where it covers no point and no earlier label, if there is such a corner."""
    places = [(frame.right(point.x), frame.down(point.y)) for point in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    made = []
    for point, (x, y) in zip(points, places, strict=True):
        width = _LETTER * len(point.label)
        corners = [
            (
                x + 7 * across - (width if across < 0 else 0),
                y + drop,
                "start" if across > 0 else "end",
                across,
            )
            for drop in (-5, 14)
            for across in (1, -1)
        ]
        boxes = [(left, drop - _LINE, left + width, drop) for left, drop, _, _ in corners]
        free = (
            index for index, box in enumerate(boxes) if _inside(box) and not any(_meet(box, t) for t in taken)
        )
        best = next(free, 0)
        _, label_y, anchor, across = corners[best]
        taken.append(boxes[best])
        made.append(
            Mark(point.style, point.shape, x, y, point.tip, point.label, x + 7 * across, label_y, anchor)
        )
    return tuple(made)


Box = tuple[float, float, float, float]


def _inside(box: Box) -> bool:
    return box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
