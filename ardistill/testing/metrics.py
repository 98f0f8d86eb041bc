"""What a metric promises (`protocols.Metric`): figures of a set of images, however they come.

Shape legend: N images of a set, B batch, F features, H W pixels.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import attrs
import torch
from torch import Tensor

from ardistill.errors import ArdistillError
from ardistill.evaluation.report import Row
from ardistill.noise import Draw
from ardistill.protocols import Metric
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect, expect_members
from ardistill.testing.looking import TOLERANCE

_CLASSES = 3
"""Of the images shown, at most."""
_EACH = 4
"""Images of each class and each image of a case's batch."""

Part = tuple[Tensor, Tensor, Tensor]
"""Images (B, channels, H, W), labels (B,) and features (B, F): a call of `update`."""


@attrs.define(eq=False)
class MetricSubject:
    """What makes a metric, and the images that it is shown: noise of that shape, as many of each class."""

    make: Callable[[], Metric]
    image_shape: tuple[int, int, int] = (3, 16, 16)
    n_classes: int = 10
    n_features: int = 8
    n_steps: int = 1

    def shown(self, case: Case) -> Part:
        """The whole set, classes in turn."""
        classes = min(self.n_classes, _CLASSES)
        draw = Draw(case.seed, "testing/own", 0, case.batch * _EACH * classes)
        images_NCHW = 2 * draw.uniform("image", *self.image_shape) - 1
        return images_NCHW, draw.indices() % classes, draw.normal("feature", self.n_features)

    def figures(self, parts: Iterable[Part]) -> dict[str, float]:
        """What a fresh metric finds of these parts."""
        metric = self.make()
        for part in parts:
            metric.update(*part)
        return dict(metric.result())


def _in_batches(whole: Part, size: int) -> list[Part]:
    """The last may be smaller."""
    images, labels, features = whole
    rows = [slice(start, start + size) for start in range(0, len(images), size)]
    return [(images[row], labels[row], features[row]) for row in rows]


def _expect_alike(found: Mapping[str, float], wanted: Mapping[str, float], said: str) -> None:
    """Whether figures agree up to rounding; `said` tells when they differ."""
    expect(found.keys() == wanted.keys(), f"figures {sorted(found)} instead of {sorted(wanted)} {said}")
    for name, value in wanted.items():
        apart = abs(found[name] - value)
        expect(apart <= TOLERANCE * (1 + abs(value)), f"{name} is {found[name]:.6g}, not {value:.6g}, {said}")


def it_has_what_the_protocol_demands(subject: MetricSubject, case: Case) -> None:
    """A metric has every name of protocols.Metric, and is another one each time it is made."""
    del case
    metric = subject.make()
    expect_members(metric, Metric)
    expect(subject.make() is not metric, "the same object both times")


def figures_are_numbers_by_name(subject: MetricSubject, case: Case) -> None:
    """result() has finite numbers by name, one at least, and JSON gives them back as they were."""
    figures = subject.figures([subject.shown(case)])
    expect(bool(figures), "no figure")
    value: object
    for name, value in figures.items():
        number = isinstance(value, int | float) and math.isfinite(value)
        told = f"{type(value).__name__} {value}"
        expect(number, f"{name!r} is {told}, which is no finite number (a tensor's is tensor.item())")
        expect(json.loads(json.dumps({"": value})) == {"": value}, f"{name!r} is {told}, which JSON changes")


def names_can_head_columns(subject: MetricSubject, case: Case) -> None:
    """Names are one line of text, and no figure's that every report has."""
    own = {field.name for field in attrs.fields(Row)}
    for name in subject.figures([subject.shown(case)]):
        text: object = name
        line = isinstance(text, str) and bool(name) and name == name.strip() and name.isprintable()
        expect(line, f"a figure called {name!r}")
        expect(name not in own, f"a figure called {name}, and every report has one of that name")


def names_stay_with_more_images(subject: MetricSubject, case: Case) -> None:
    """The names are the same however many images were shown."""
    more, fewer = (
        sorted(subject.figures([subject.shown(attrs.evolve(case, batch=n))])) for n in (case.batch + 1, 1)
    )
    expect(more == fewer, f"figures {fewer} of few images, and {more} of more")


def the_same_images_give_the_same_figures(subject: MetricSubject, case: Case) -> None:
    """A set of images has the same figures, bit for bit, whatever the global generators are seeded with."""
    parts = [subject.shown(case)]
    first, second = looking.twice(partial(subject.figures, parts))
    expect(first == second, f"{first}, and {second} the second time: global randomness plays a part")


def batches_do_not_matter(subject: MetricSubject, case: Case) -> None:
    """The same images in one batch, one by one, or in batches of two sizes have the same figures, up to rounding."""
    whole = subject.shown(case)
    wanted = subject.figures([whole])
    for size in (1, 3, 5):
        _expect_alike(
            subject.figures(_in_batches(whole, size)), wanted, f"of the images in batches of {size}"
        )


def the_order_of_batches_does_not_matter(subject: MetricSubject, case: Case) -> None:
    """A set of some dozens of images has the same figures in whatever order its batches come, up to rounding."""
    parts = _in_batches(subject.shown(case), 3)
    _expect_alike(subject.figures(parts[::-1]), subject.figures(parts), "of the batches in reverse")


def a_metric_knows_its_own_images_alone(subject: MetricSubject, case: Case) -> None:
    """Two metrics that are shown different images in turns find what each finds by itself."""
    ours, theirs = subject.shown(case), subject.shown(attrs.evolve(case, seed=case.seed + 1))
    wanted = subject.figures([ours])
    mine, other = subject.make(), subject.make()
    for part, beside in zip(_in_batches(ours, 3), _in_batches(theirs, 3), strict=True):
        mine.update(*part)
        other.update(*beside)
    _expect_alike(dict(mine.result()), wanted, "beside a metric that is shown other images")


def asking_changes_nothing(subject: MetricSubject, case: Case) -> None:
    """Asked again, result() says the same."""
    metric = subject.make()
    metric.update(*subject.shown(case))
    first, second = dict(metric.result()), dict(metric.result())
    expect(first == second, f"{first}, and then {second}")


def too_few_images_are_refused_in_words(subject: MetricSubject, case: Case) -> None:
    """A single image has finite figures, or is refused by an exception of ardistill.errors in one sentence."""
    one = _in_batches(subject.shown(case), 1)[0]
    try:
        figures = subject.figures([one])
    except ArdistillError as error:
        expect(bool(str(error)) and len(str(error).splitlines()) == 1, f"refused by {str(error)!r}")
        return
    odd = [name for name, value in figures.items() if not math.isfinite(value)]
    expect(not odd, f"{odd[:1]} of one image is not finite")


def what_it_is_shown_is_left_alone(subject: MetricSubject, case: Case) -> None:
    """Neither update() nor result() changes images, labels or features."""
    whole = subject.shown(case)
    given = dict(zip(("images", "labels", "features"), whole, strict=True))
    before = looking.all_bits(given)
    with torch.no_grad():
        subject.figures([whole])
    looking.expect_unchanged(before, given, "the metric")


CHECKS: tuple[Check[MetricSubject], ...] = (
    Check(it_has_what_the_protocol_demands, examples=0, gate=True),
    Check(figures_are_numbers_by_name, gate=True),
    Check(names_can_head_columns, examples=0),
    Check(names_stay_with_more_images, examples=3),
    Check(the_same_images_give_the_same_figures),
    Check(batches_do_not_matter),
    Check(the_order_of_batches_does_not_matter),
    Check(a_metric_knows_its_own_images_alone),
    Check(asking_changes_nothing, examples=0),
    Check(too_few_images_are_refused_in_words, examples=0),
    Check(what_it_is_shown_is_left_alone, examples=0),
)
