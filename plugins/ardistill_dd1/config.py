"""The words of DD1, with the released students' settings as presets. docs/dd1.md tells which gaps they fill."""

from collections.abc import Mapping
from pathlib import Path

import attrs
from attrs.validators import ge, gt, le, lt, optional

from ardistill.solvers import DEFAULT_EVALUATIONS, DEFAULT_SOLVER, Solver
from ardistill_dd1.lpips_config import LPIPSConfig


@attrs.frozen
class FlowSettings:
    """How noise is carried to tokens. docs/ode.md has the measurements behind the default."""

    solver: Solver = DEFAULT_SOLVER
    evaluations: int = attrs.field(default=DEFAULT_EVALUATIONS, validator=[ge(1), le(100_000)])
    """Evaluations of the velocity for each token; none of them runs the teacher's network."""
    compiled: bool = attrs.field(default=False, metadata={"origin": False})
    """Whether torch.compile makes the evaluations, for GPUs. Pairs don't tell it: tokens are the same but for ties."""


def _betas(_: object, field: "attrs.Attribute[tuple[float, float]]", value: tuple[float, float]) -> None:
    if not all(0 <= beta < 1 for beta in value):
        raise ValueError(f"{field.name} must be at least 0 and below 1, not {value}")


@attrs.frozen
class DD1Config:
    """Steps are the teacher's, counted from 0; amounts are images."""

    preset: str = ""
    init: Path | None = None
    """A student to go on from: a run's student.safetensors, or a released one. Without it, the teacher's weights."""

    pairs: Path | None = None
    """A folder that `collect` has filled; without one, pairs are collected into the run's folder."""
    n_pairs: int = attrs.field(default=60_000, validator=ge(1))
    """How many pairs are learned from."""
    stream: bool = False
    """Whether pairs are collected as training first needs them, instead of beforehand."""
    trajectory: FlowSettings = attrs.field(factory=FlowSettings)
    collect_batch: int = attrs.field(default=500, validator=ge(1))
    """Pairs collected at once."""

    starts: tuple[int, ...] = ()
    """The timesteps: the student learns to jump from states with so many steps of data. Without any, 0 and a third."""
    split: int | None = attrs.field(default=None, validator=optional(ge(0)))
    """Steps before it are read from the logits head, later ones from the continuous head; without it, logits only."""
    recipes: tuple[str, ...] = ()
    """Schedules with a split of their own, as STEPS:SPLIT, e.g. pre-trained-4-6:8."""
    from_noise: float = attrs.field(default=0.7, validator=[gt(0), le(1)])
    """The share of training images that start from pure noise; the others start alike from the later timesteps."""

    images: int = attrs.field(default=256_000, validator=ge(1))
    batch: int = attrs.field(default=64, validator=ge(1))
    balance: float = attrs.field(default=0.66, validator=[ge(0), le(1)])
    """How cross-entropy is shared: at 0 all tokens count alike, at 1 all steps do, however many tokens they emit."""
    ce: float = attrs.field(default=1.0, validator=ge(0))
    """Weight of the logits head's cross-entropy."""
    lpips: LPIPSConfig = attrs.field(factory=LPIPSConfig)
    """The continuous head's distance between decoded images; weight 0 leaves it untrained."""

    lr: float = attrs.field(default=6e-3, validator=gt(0))
    warmup_images: int = attrs.field(default=6_000, validator=ge(0))
    decay: float = attrs.field(default=0.02, validator=[ge(0), le(1)])
    """Share of the learning rate left at the end."""
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.99), validator=_betas)
    weight_decay: float = attrs.field(default=0.05, validator=ge(0))
    clip: float = attrs.field(default=1.0, validator=gt(0))
    ema_cap: float = attrs.field(default=0.998, validator=[ge(0), lt(1)])

    def __attrs_post_init__(self) -> None:
        if self.stream and self.pairs is not None:
            raise ValueError(
                "stream=true collects pairs into the run's own folder; leave out stream or pairs=DIR"
            )
        if not self.ce and not self.lpips.weight:
            raise ValueError(
                "ce and lpips.weight are both 0, so there is nothing to learn; give one of them a weight"
            )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        """`quick` for a look in a minute; the others are the released students' timesteps and splits.

        Their learning rate, batch, weights and number of pairs are not published: docs/dd1.md.
        """
        paper: dict[str, object] = {
            "n_pairs": 1_200_000,
            "collect_batch": 64,
            "images": 1_200_000 * 100,
            "batch": 512,
            "lr": 1e-4,
            "betas": [0.9, 0.95],
            "warmup_images": 1_000_000,
            "weight_decay": 0.05,
            "ema_cap": 0.9999,
            "lpips": {"net": "vgg", "weight": 1.0},
        }
        d16_recipes = ["pre-trained-5-6:5", "pre-trained-4-6:8", "pre-trained-1-6:9"]
        l_recipes = ["pre-trained-61-81:180", "pre-trained-41-81:180", "pre-trained-1-81:220"]
        return {
            "quick": {"n_pairs": 6_000, "images": 24_000, "warmup_images": 1_200},
            "var-d16": paper | {"starts": [0, 5], "split": 5, "recipes": d16_recipes},
            "var-d20": paper | {"starts": [0, 4], "split": 4},
            "var-d24": paper | {"starts": [0, 4], "split": 4},
            "llamagen-b": paper | {"starts": [0, 80], "split": 80},
            "llamagen-l": paper | {"starts": [0, 80], "split": 130, "recipes": l_recipes},
        }
