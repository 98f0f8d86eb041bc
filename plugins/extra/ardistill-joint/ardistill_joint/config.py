"""The words of `method=joint`. Amounts are images over all updates of a phase."""

from collections.abc import Mapping
from pathlib import Path

import attrs
from ardistill_dd1.config import DD1Config, FlowSettings
from ardistill_dd1.lpips_config import LPIPSConfig
from attrs.validators import ge, gt, le, lt


@attrs.frozen
class JointConfig:
    """First the trajectories, by cross-entropy (`start_*`); then the scores. A phase of 0 images is left out."""

    preset: str = ""
    init: Path | None = None
    """A DD1 student to go on from: with start_images=0 what is left is to distil its scores."""

    pairs: Path | None = None
    """A folder that `collect` has filled; without one, pairs are collected into the run's folder."""
    n_pairs: int = attrs.field(default=30_000, validator=ge(1))
    trajectory: FlowSettings = attrs.field(factory=FlowSettings)
    collect_batch: int = attrs.field(default=500, validator=ge(1))
    start_images: int = attrs.field(default=128_000, validator=ge(0))
    start_batch: int = attrs.field(default=64, validator=ge(1))
    start_lr: float = attrs.field(default=6e-3, validator=gt(0))
    balance: float = attrs.field(default=0.66, validator=[ge(0), le(1)])
    """How cross-entropy is shared: at 0 all tokens count alike, at 1 all steps do."""

    guidance_images: int = attrs.field(default=2_880, validator=ge(0))
    """Updates of the guidance network alone before the student moves."""
    images: int = attrs.field(default=48_000, validator=ge(0))
    ratio: int = attrs.field(default=2, validator=ge(1))
    """Guidance updates for each of the student's."""
    batch: int = attrs.field(default=48, validator=ge(1))
    anchor: float = attrs.field(default=3.0, validator=ge(0))
    """The weight of cross-entropy beside the scores when they begin; it falls to 0 along the phase."""
    alpha: float = attrs.field(default=1.0, validator=ge(0))
    """SiD's alpha."""
    draws: int = attrs.field(default=4, validator=ge(1))
    """Noise and time draws per token."""
    t_min: float = attrs.field(default=0.2, validator=[gt(0), lt(1)])
    t_max: float = attrs.field(default=0.95, validator=[gt(0), lt(1)])
    lr: float = attrs.field(default=3e-4, validator=gt(0))
    guidance_lr: float = attrs.field(default=1e-3, validator=gt(0))
    warmup_images: int = attrs.field(default=4_000, validator=ge(0))
    decay: float = attrs.field(default=0.02, validator=[ge(0), le(1)])
    """Share of the learning rates left at the end of each phase."""
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = attrs.field(default=1.0, validator=gt(0))
    ema_cap: float = attrs.field(default=0.99, validator=[ge(0), lt(1)])

    def __attrs_post_init__(self) -> None:
        if self.t_min >= self.t_max:
            raise ValueError(f"t_min must be below t_max, not {self.t_min} >= {self.t_max}")

    @property
    def start(self) -> DD1Config:
        """The first phase is DD1's, from noise alone, without a perceptual loss: only its logits are read later."""
        return DD1Config(
            init=self.init,
            pairs=self.pairs,
            n_pairs=self.n_pairs,
            trajectory=self.trajectory,
            collect_batch=self.collect_batch,
            starts=(0,),
            images=max(1, self.start_images),  # where there are none, the phase is left out
            batch=self.start_batch,
            lr=self.start_lr,
            balance=self.balance,
            lpips=LPIPSConfig(weight=0.0),
            decay=self.decay,
            clip=self.clip,
        )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        """`quick` for a look in a minute."""
        return {
            "quick": {
                "n_pairs": 6_000,
                "start_images": 24_000,
                "guidance_images": 960,
                "images": 4_800,
                "warmup_images": 1_200,
            }
        }
