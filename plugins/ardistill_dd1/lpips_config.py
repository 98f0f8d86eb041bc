"""The words of the perceptual loss, beneath `method.lpips`."""

import math
from pathlib import Path

import attrs

from ardistill.backbones import Network, check_weights


def _weight(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{field.name} must be a finite number of at least 0, not {value}")


@attrs.frozen
class LPIPSConfig:
    """How the images of the continuous head are held against the teacher's."""

    weight: float = attrs.field(default=0.05, validator=_weight)
    """Small beside cross-entropy's 1, since both heads share a network: docs/dd1.md."""
    share: float = attrs.field(default=0.25, validator=[attrs.validators.gt(0), attrs.validators.le(1)])
    """Of every batch, the images that are decoded and compared; decoding costs more than the student's pass."""
    net: Network = "features"
    """The data's own feature network, or the backbone of LPIPS (arXiv 1801.03924)."""
    weights: Path | None = None
    """The backbone's file as torchvision has it; without one, torch's cache is looked into. Nothing is downloaded."""

    def __attrs_post_init__(self) -> None:
        check_weights(self.net, self.weights)
