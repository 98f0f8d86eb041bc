"""The words of `eval`: by which protocol a student is judged. No torch here."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs.validators import ge, lt, optional

from ardistill.config.path_length import PathLengthConfig
from ardistill.config.section import Sections, sections_of
from ardistill.config.speed import SpeedConfig
from ardistill.schedules import ONESTEP, skipped

ProtocolName = Literal["digits", "adm", "dd"]
Labels = Literal["balanced", "random"]


@attrs.frozen
class Rules:
    """What a protocol fixes. `reference` names an asset, and `features` a network; "" is the data's own."""

    n: int
    labels: Labels
    kid_subsets: int
    reference: str = ""
    features: str = ""


PROTOCOLS: Mapping[str, Rules] = {
    "digits": Rules(n=5_000, labels="balanced", kid_subsets=20),
    "adm": Rules(50_000, "balanced", 100, reference="adm-imagenet256", features="inception"),
    "dd": Rules(50_000, "random", 100, reference="dd-statistics", features="inception-pytorch-fid"),
}
"""digits: against n training images of the data, classes in turn, in the data's own network. adm: OpenAI's statistics
of ImageNet at 256 pixels, 50 samples of each class. dd: the released statistics of Distilled Decoding, classes at
random."""


def known_baselines(_: object, field: "attrs.Attribute[Any]", names: tuple[str, ...]) -> None:
    """Every name is a baseline's, and said once; the teacher's number of steps is not known yet."""
    for index, name in enumerate(names):
        try:
            skipped(name)
        except ValueError as error:
            raise ValueError(f"{field.name}: {error}") from error
        if name in names[:index]:
            raise ValueError(f"{field.name} names {name} twice; give each baseline once")


@attrs.frozen(slots=False)  # shared by classes that have another base with slots
class EvalConfig:
    """How a run's student is judged."""

    protocol: ProtocolName = "digits"
    """What n, labels, reference and features are where no word says otherwise (docs/evaluation.md)."""
    n: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Images that each row of the report is measured on."""
    labels: Labels | None = None
    """balanced: image i shows class i modulo their number; random: drawn uniformly."""
    reference: Path | None = None
    """A folder of images, or a file of statistics (.npz, .pth), to measure against."""
    features: str | None = attrs.field(default=None)
    """The feature network: inception, inception-pytorch-fid, dinov2-..., clip-..., or a plugin's."""
    weights: Path | None = None
    """The feature network's weights, where they are not where `ardistill fetch` puts them."""
    skip: float = attrs.field(default=0.05, validator=[ge(0.0), lt(1.0)])
    """The share of a reference folder's images that may be grey, CMYK or broken; they are left out."""
    batch: int = attrs.field(default=250, validator=ge(1))
    steps: tuple[str, ...] = ()
    """Schedules to judge, e.g. 1,2,pre-trained-4-5; without any, each number of passes up to four."""
    baselines: tuple[str, ...] = attrs.field(default=(ONESTEP, "skip-1"), validator=known_baselines)
    """Rows to compare with: onestep*, skip-1, skip-2, ... Gaps are measured where onestep* is among them."""
    kid_subsets: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Of at most 1,000 images each."""
    metrics: Sections = attrs.field(factory=Sections, metadata=sections_of("metric"))
    """Further figures, by plugins: eval.metrics=diversity; settings are eval.metrics.NAME.WORD=..."""
    every: int = attrs.field(default=0, validator=ge(0))
    """Images of training between two evaluations of the averaged student; 0 is none. The best student is kept."""
    every_n: int = attrs.field(default=1_000, validator=ge(1))
    """Images that each of those is measured on."""
    ppl: PathLengthConfig = attrs.field(factory=PathLengthConfig)
    speed: SpeedConfig = attrs.field(factory=SpeedConfig)

    @features.validator
    def _plain(self, _: "attrs.Attribute[Any]", features: str | None) -> None:
        if features is not None and not re.fullmatch(r"[\w.+:-]{1,100}", features):
            raise ValueError(f"features must be the name of a feature network, not {features!r}")

    @property
    def rules(self) -> Rules:
        """The protocol's, with what was said otherwise; `reference` is "" as well where a path is given."""
        rules = PROTOCOLS[self.protocol]
        return Rules(
            n=self.n or rules.n,
            labels=self.labels or rules.labels,
            kid_subsets=self.kid_subsets or rules.kid_subsets,
            reference="" if self.reference is not None else rules.reference,
            features=self.features or rules.features,
        )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        return {"quick": {"n": 1000}}
