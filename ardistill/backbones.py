"""The networks that a perceptual distance is taken in: their names in the configuration, and their files. No torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs

Network = Literal["features", "vgg", "alex"]
"""The data's own feature network, or the backbone of LPIPS (arXiv 1801.03924)."""


@attrs.frozen
class Backbone:
    """A classifier of torchvision's, of which LPIPS takes the convolutions."""

    name: str
    cached: str
    """What torchvision calls its file."""
    smallest: int
    """The side in pixels below which a layer has nothing left."""


BACKBONES: Mapping[Network, Backbone] = {
    "vgg": Backbone("VGG16", "vgg16-397923af.pth", 16),
    "alex": Backbone("AlexNet", "alexnet-owt-7be5be79.pth", 31),
}


def check_weights(net: Network | None, weights: Path | None) -> None:
    """Raises ValueError where a file is given for the data's own network, which has one."""
    if weights is not None and net == "features":
        raise ValueError("weights are for net=vgg or net=alex; net=features takes the data's own network")
