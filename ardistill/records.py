"""What plugins hand in through the hooks: frozen records that name things lazily, so that listing them is instant.

A target is written "package.module:object" and imported only when somebody asks for the thing itself. A record's
`config` names an attrs class, kept in a module that does not import torch; it is what `teacher.depth=16` or
`method.alpha=1.0` is checked against.
"""

from importlib import import_module
from typing import Any, ClassVar, Literal

import attrs

Alignment = Literal["prefix", "own"]
"""What a position of the networks that a teacher hands out may see.

*prefix*: the latents of earlier steps only (`ARTeacher.trunk`); *own*: its own noise or data as well
(`ARTeacher.jumper`).
"""

ConditionKind = Literal["class", "text"]

API_VERSION = 1
"""Bumped when a record or a protocol changes in a way that breaks plugins; a plugin states the one it was made for."""


def resolve(target: str) -> Any:
    """The object that "package.module:object" names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


_TARGET = attrs.validators.matches_re(r"[\w.]+:\w+")
_TARGET_OR_NONE: Any = attrs.field(default=None, validator=attrs.validators.optional(_TARGET))


@attrs.frozen
class Offer:
    """Something a plugin brings. `summary` is one line for the plugin table and `--help`."""

    kind: ClassVar[str]
    core: ClassVar[frozenset[str]] = frozenset()
    """Names of this kind that the core has itself."""
    name: str
    summary: str
    target: str = attrs.field(validator=_TARGET)
    config: str | None = _TARGET_OR_NONE

    def load(self) -> Any:
        return resolve(self.target)

    def config_class(self) -> type | None:
        loaded: type | None = None if self.config is None else resolve(self.config)
        return loaded


@attrs.frozen
class TokenizerOffer(Offer):
    """Target: `(config, weights) -> Tokenizer`; `weights(name)` finds bundled files (see `WeightsFinder`)."""

    kind: ClassVar[str] = "tokenizer"


@attrs.frozen
class TeacherOffer(Offer):
    """Target: `(config, weights) -> ARTeacher`. Capabilities are checked when a run is configured."""

    kind: ClassVar[str] = "teacher"
    alignments: frozenset[Alignment] = frozenset()
    conditions: frozenset[ConditionKind] = frozenset({"class"})
    captions: str | None = _TARGET_OR_NONE
    """`(config, path) -> Condition`: captions as this teacher takes them, from what `captions=PATH` names."""
    untrained: str | None = _TARGET_OR_NONE
    """`(config, seed) -> ARTeacher | None`: of the sizes that the settings name, with weights drawn from the seed, for
    what depends on sizes alone (`bench`); None where they name no sizes, or weights."""


@attrs.frozen
class TrajectoryOffer(Offer):
    """Target: `(settings, teacher, condition, noise_BLC, draw) -> tokens_BL`: how noise and tokens come to belong.

    `settings` is of the record's `config` class, or None without one; an image's tokens depend on its own condition,
    noise and draw alone.
    """

    kind: ClassVar[str] = "trajectory"
    of_noise: bool = False
    """Whether an image's noise and condition alone decide its tokens, so that a student can be shown beside it."""


@attrs.frozen
class StudentOffer(Offer):
    """Target: `(settings, teacher) -> Student`, an nn.Module rebuilt from the settings its weights file carries.

    `published`: `(config, teacher, weights) -> Student`, from a file in the layout of those who published it first;
    `config` is then what `student.starts=0,5` is checked against, and has a `checkpoint`.
    """

    kind: ClassVar[str] = "student"
    published: str | None = _TARGET_OR_NONE


@attrs.frozen
class MethodOffer(Offer):
    """Target: `(config, teacher, context) -> DistillMethod`."""

    kind: ClassVar[str] = "method"
    needs: frozenset[Alignment] = frozenset()


@attrs.frozen
class DatasetOffer(Offer):
    """Target: `(config) -> Dataset`: real images to compare with, and whatever weights are bundled with them."""

    kind: ClassVar[str] = "dataset"


@attrs.frozen
class FeaturesOffer(Offer):
    """Target: `(weights) -> FeatureNetwork`, the network whose features the Frechet distance and its kin compare."""

    kind: ClassVar[str] = "features"


@attrs.frozen
class MetricOffer(Offer):
    """Target: `(settings) -> Metric`, a fresh one for each generator that is judged."""

    kind: ClassVar[str] = "metric"


@attrs.frozen
class CallbackOffer(Offer):
    """Target: `(settings, folder) -> Callback`, in the first process of a run whose folder this is."""

    kind: ClassVar[str] = "callback"


@attrs.frozen
class LauncherOffer(Offer):
    """Target: `(settings) -> Launcher`, which hands runs to jobs and tells how they stand (`ardistill.launchers`).

    `config` derives from `ardistill.config.launching.LauncherConfig`, which stands for it where there is none.
    """

    kind: ClassVar[str] = "launcher"
    core: ClassVar[frozenset[str]] = frozenset({"here"})


@attrs.frozen
class RecipeOffer(Offer):
    """Target: `(config, out, progress) -> None`: a documented way to train bundled weights (`ardistill pretrain`)."""

    kind: ClassVar[str] = "recipe"


OFFERS: tuple[type[Offer], ...] = (
    TokenizerOffer,
    TeacherOffer,
    TrajectoryOffer,
    StudentOffer,
    MethodOffer,
    DatasetOffer,
    FeaturesOffer,
    MetricOffer,
    CallbackOffer,
    LauncherOffer,
    RecipeOffer,
)
