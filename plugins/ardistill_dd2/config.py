"""The words of DD2, with the papers' sizes as presets. docs/dd2.md tells which gaps of the paper they fill."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import ge, gt, le, lt

ScoreForm = Literal["sid", "dmd"]
Prefix = Literal["snapped", "continuous"]


@attrs.frozen
class HeadConfig:
    """The light head on (h_i, x_t, t): AdaLN-MLP blocks as in MAR (arXiv 2406.11838)."""

    width: int = attrs.field(default=96, validator=ge(1))
    blocks: int = attrs.field(default=2, validator=ge(1))
    start_time: float = attrs.field(default=0.7, validator=[gt(0), le(1)])
    """Where the generator enters the flow: it reads x_t = t eps at this t. The paper implies 1."""
    unit_codes: bool = True
    """Whether the flow runs on codes scaled to deviation 1, so that a time means the same for every tokenizer."""


@attrs.frozen(kw_only=True)
class DD2StudentSettings:
    """The words of `student=dd2`: the student.safetensors of a run."""

    checkpoint: Path | None = None


def _betas(_: object, field: "attrs.Attribute[tuple[float, float]]", value: tuple[float, float]) -> None:
    if not all(0 <= beta < 1 for beta in value):
        raise ValueError(f"{field.name} must be at least 0 and below 1, not {value}")


@attrs.frozen
class DD2Config:
    """Amounts are images over all updates of a phase; a phase of 0 images is left out."""

    preset: str = ""
    head: HeadConfig = attrs.field(factory=HeadConfig)

    tuning_samples: int = attrs.field(default=12_000, validator=ge(1))
    """Teacher samples, drawn once, on which the AR-diffusion model is tuned."""
    tune_head_images: int = attrs.field(default=4_800, validator=ge(0))
    tune_images: int = attrs.field(default=64_000, validator=ge(1))
    tune_batch: int = attrs.field(default=64, validator=ge(1))
    tune_lr: float = attrs.field(default=1e-3, validator=gt(0))

    guidance_images: int = attrs.field(default=3_840, validator=ge(0))
    """Updates of the guidance network alone before the generator moves."""
    csd_images: int = attrs.field(default=144_000, validator=ge(1))
    csd_ratio: int = attrs.field(default=3, validator=ge(1))
    """Guidance updates per generator update (K)."""
    align_guidance_images: int = attrs.field(default=0, validator=ge(0))
    align_images: int = attrs.field(default=0, validator=ge(0))
    align_ratio: int = attrs.field(default=2, validator=ge(1))
    batch: int = attrs.field(default=48, validator=ge(1))

    score_form: ScoreForm = "sid"
    alpha: float = attrs.field(default=1.0, validator=ge(0))
    """SiD's alpha; only score_form=sid reads it."""
    prefix: Prefix = "snapped"
    """What the teacher and the guidance network are conditioned on: nearest codes, or the generator's own vectors."""
    draws: int = attrs.field(default=2, validator=ge(1))
    """Noise and time draws per token (m)."""
    t_min: float = attrs.field(default=0.2, validator=[gt(0), lt(1)])
    t_max: float = attrs.field(default=0.95, validator=[gt(0), lt(1)])
    """Times are uniform in t_min..t_max; below 0.2 the posterior is one code, and teaches nothing."""

    generator_lr: float = attrs.field(default=1e-3, validator=gt(0))
    guidance_lr: float = attrs.field(default=1e-3, validator=gt(0))
    lr_start: float = attrs.field(default=1e-6, validator=ge(0))
    warmup_images: int = attrs.field(default=6_000, validator=ge(0))
    decay: float = attrs.field(default=0.02, validator=[ge(0), le(1)])
    """Share of the learning rate left at the end of each phase."""
    tune_betas: tuple[float, float] = attrs.field(default=(0.9, 0.95), validator=_betas)
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.95), validator=_betas)
    """Adam's, for tuning and for all that follows."""
    weight_decay: float = attrs.field(default=0.0, validator=ge(0))
    clip: float = attrs.field(default=1.0, validator=gt(0))
    ema_cap: float = attrs.field(default=0.99, validator=[ge(0), lt(1)])

    def __attrs_post_init__(self) -> None:
        if self.t_min >= self.t_max:
            raise ValueError(f"t_min must be below t_max, not {self.t_min} >= {self.t_max}")

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        """`quick` for a look in a minute; the others are tables 10 and 11 of the paper."""
        paper: dict[str, object] = {
            "head": {"width": 1024, "blocks": 4, "start_time": 1.0, "unit_codes": False},
            "draws": 4,
            "t_min": 0.02,
            "t_max": 0.98,
            "decay": 1.0,
            "ema_cap": 0.9999,
            "tuning_samples": 1_281_167,
        }
        return {
            "quick": {
                "tuning_samples": 2_000,
                "tune_head_images": 0,
                "tune_images": 9_600,
                "guidance_images": 960,
                "csd_images": 9_600,
                "warmup_images": 1_200,
            },
            "var-d16": paper
            | {
                "tune_batch": 512,
                "tune_lr": 2e-4,
                "tune_head_images": 75_000 * 512,
                "tune_images": 7_500 * 512,
                "batch": 512,
                "csd_ratio": 5,
                "guidance_images": 0,
                "csd_images": 6 * 2_000 * 512,
                "align_guidance_images": 2_000 * 512,
                "align_images": 3 * 1_875 * 512,
                "align_ratio": 2,
                "generator_lr": 2e-4,
                "guidance_lr": 2e-4,
                "warmup_images": 6 * 2_000 * 512,
            },
        }
