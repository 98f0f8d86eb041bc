"""The words of the perceptual path length, beneath `eval.ppl`. No torch here."""

from pathlib import Path

import attrs
from attrs.validators import ge, le

from ardistill.backbones import Network, check_weights


@attrs.frozen
class PathLengthConfig:
    """How smoothly a student's images follow its noise (StyleGAN, arXiv 1812.04948): docs/evaluation.md."""

    n: int = attrs.field(default=0, validator=ge(0))
    """Pairs of nearby noises; 0 leaves it out. A mean over few pairs says little: students that snap to codes jump."""
    epsilon: float = attrs.field(default=1e-4, validator=[ge(1e-6), le(1.0)])
    """The share of the way from one noise to another that lies between a pair; float32 does not tell 1e-7 from 0."""
    net: Network | None = None
    """LPIPS in vgg, as published, or in alex, or the distance in the data's own features; none is the protocol's."""
    weights: Path | None = None
    """The backbone's file as torchvision has it; without one, torch's cache is looked into. Nothing is downloaded."""

    def __attrs_post_init__(self) -> None:
        check_weights(self.net, self.weights)
        if self.weights is not None and not self.n:
            raise ValueError("weights are for measuring path lengths, and n=0 measures none; give n=2000 too")
