"""The words of `method=joint`. Amounts are images over all updates of a phase."""

from collections.abc import Mapping
from pathlib import Path

import attrs
from ardistill_dd1.config import FlowSettings
from attrs.validators import ge, gt, le, lt

from ardistill_joint.closing import ClosingSettings


@attrs.frozen
class JointConfig:
    """First the trajectories (`start_*`), then the distribution, then what closes. A phase of 0 images is left out."""

    preset: str = ""
    n_pairs: int = attrs.field(default=20_000, validator=ge(1))
    """Pairs of noise and tokens, collected into the run's folder, to start from."""
    trajectory: FlowSettings = attrs.field(factory=FlowSettings)
    """How noise is carried to tokens, in the pairs and by the student."""
    closing: ClosingSettings = attrs.field(factory=ClosingSettings)
    """The block that tells the last step's tokens."""
    collect_batch: int = attrs.field(default=500, validator=ge(1))
    start_images: int = attrs.field(default=48_000, validator=ge(0))
    start_batch: int = attrs.field(default=64, validator=ge(1))
    start_lr: float = attrs.field(default=6e-3, validator=gt(0))
    balance: float = attrs.field(default=0.66, validator=[ge(0), le(1)])
    """How the start's cross-entropy is shared: at 0 all tokens count alike, at 1 all steps do."""

    guidance_images: int = attrs.field(default=2_880, validator=ge(0))
    """Updates of the guidance network alone before the student moves."""
    images: int = attrs.field(default=90_000, validator=ge(0))
    ratio: int = attrs.field(default=2, validator=ge(1))
    """Guidance updates for each of the student's."""
    batch: int = attrs.field(default=48, validator=ge(1))
    anchor: float = attrs.field(default=1.0, validator=ge(0))
    """What the teacher's distributions given the student's own tokens weigh beside the divergence; it falls to 0."""
    bound: float = attrs.field(default=5.0, validator=gt(0))
    """Of the logarithm of how much likelier the student makes a token than the teacher, either way."""
    closing_images: int = attrs.field(default=96_000, validator=ge(0))
    """With 0 there is no closing block."""
    closing_batch: int = attrs.field(default=64, validator=ge(1))
    closing_lr: float = attrs.field(default=1e-2, validator=gt(0))
    lr: float = attrs.field(default=1e-3, validator=gt(0))
    guidance_lr: float = attrs.field(default=1e-3, validator=gt(0))
    warmup_images: int = attrs.field(default=4_000, validator=ge(0))
    decay: float = attrs.field(default=0.02, validator=[ge(0), le(1)])
    """Share of the learning rates left at the end of each phase."""
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = attrs.field(default=1.0, validator=gt(0))
    ema_cap: float = attrs.field(default=0.995, validator=[ge(0), lt(1)])

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        """`quick` for a look in a minute."""
        return {
            "quick": {
                "n_pairs": 6_000,
                "start_images": 12_000,
                "guidance_images": 960,
                "images": 9_600,
                "closing_images": 12_000,
                "warmup_images": 1_200,
            }
        }


@attrs.frozen(kw_only=True)
class JointStudentSettings:
    """The words of `student=joint`: the student.safetensors of a run."""

    checkpoint: Path | None = None
