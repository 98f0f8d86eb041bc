"""A perceptual distance between images: for losses, and for the length of paths.

Legend: B batch, C channels, H W pixels, F features.

The real thing is LPIPS 0.1 (arXiv 1801.03924) by the package `lpips`, which brings its linear weights; the backbone's
come from a file. `features` stands in for it where images are not photographs: |f - g|^2 / |g|^2 between the features
f of the made image and g of the target, in the network that judges the data. An image without features is at 1, and
unrelated images of equal strength at 2 (1 - cos); each image is normalised by its own target, so that a distance does
not depend on the rest of its batch. On the digits two images of a class are 0.24 apart on average, of two classes 1.4.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ardistill.backbones import BACKBONES, Backbone, Network, check_weights
from ardistill.errors import ConfigError, WeightsError
from ardistill.values import Features
from ardistill.weights import Weights, load_strict, read_weights

Distance = Callable[[Tensor, Tensor], Tensor]
"""Made and target images (B, C, H, W) in [-1, 1] -> (B,), differentiable in the first."""

_EPS = 1e-6


def perceptual(
    net: Network,
    weights: Path | None,
    features: Features | None,
    device: torch.device | str,
    *,
    option: str,
) -> Distance:
    """The distance in `net`, in float32 with autocast off; its network is frozen and belongs to no module.

    `weights` is a backbone's file as torchvision has it; without one, torch's cache is looked into. `features` is the
    data's own network. `option` is where the configuration names the two, e.g. "method.lpips": messages say it.

    Raises ConfigError where net=features has no network or is given a file, WeightsError where a backbone has no
    weights or they are another network's. The distance raises ConfigError for images too small, and for features
    without a gradient.
    """
    try:
        check_weights(net, weights)
    except ValueError as error:  # a net that the configuration itself left open
        raise ConfigError(f"{option}: {error}") from error
    if net == "features":
        return _by_features(features, option)
    backbone = BACKBONES[net]
    place = _cached(net, backbone, option) if weights is None else weights
    network = _lpips(net, backbone, read_weights(place)).to(device)

    def distance(made_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
        height, width = made_BCHW.shape[-2:]
        if min(height, width) < backbone.smallest:
            raise ConfigError(
                f"images of {height} x {width} are too small for {backbone.name}, which needs {backbone.smallest} "
                f"pixels a side; write {option}.net=features"
            )
        with torch.autocast(made_BCHW.device.type, enabled=False):
            distance_B: Tensor = network(made_BCHW.float(), target_BCHW.float()).flatten()
        return distance_B

    return distance


def _by_features(features: Features | None, option: str) -> Distance:
    if features is None:
        raise ConfigError(
            f"{option}.net=features needs data with a feature network of its own, and there is none; write "
            f"{option}.net=vgg and {option}.weights=PATH"
        )

    def distance(made_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
        with torch.autocast(made_BCHW.device.type, enabled=False):
            made_BF, target_BF = features(made_BCHW)[0].float(), features(target_BCHW)[0].float()
        if made_BCHW.requires_grad and torch.is_grad_enabled() and not made_BF.requires_grad:
            raise ConfigError(
                f"the data's feature network gives no gradient to its images; write {option}.net=vgg and "
                f"{option}.weights=PATH"
            )
        square_B = (made_BF - target_BF).square().sum(-1)
        return square_B / target_BF.square().sum(-1).clamp_min(_EPS)

    return distance


def _cached(net: Network, backbone: Backbone, option: str) -> Path:
    """Where an earlier download of torchvision's left its file."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / backbone.cached
    if not cached.is_file():
        raise WeightsError(
            f"{option}.net={net} needs torchvision's weights of {backbone.name}, which are not at "
            f"'{cached}' and are never downloaded; give their file as {option}.weights=PATH"
        )
    return cached


def _lpips(net: Network, backbone: Backbone, weights: Weights) -> Any:
    """LPIPS with the given backbone: a state dict of torchvision's whole network, or of its `features`."""
    import lpips

    # Built without data: the package would draw a whole classifier from the global random state first.
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.filterwarnings("ignore", message=".*deprecated since 0.13", category=UserWarning)
        network: Any = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    layers = nn.ModuleDict(
        {name: layer for part in network.net.children() for name, layer in part.named_children()}
    )
    load_strict(
        nn.ModuleDict({"features": layers}),
        _features_only(weights),
        f"torchvision's {backbone.name}",
        hint=f"; give the file that torchvision calls {backbone.cached}",
    )
    linear = nn.ModuleDict({f"lin{index}": layer for index, layer in enumerate(network.lins)})
    own = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    load_strict(linear, read_weights(own), f"the linear layers of LPIPS with {backbone.name}")
    return network.requires_grad_(requires_grad=False)


def _features_only(weights: Weights) -> Weights:
    """Without the classifier, every key beginning with `features.`."""
    kept = weights.without("classifier.")
    if any(key.startswith("features.") for key in kept.tensors):
        return kept
    return attrs.evolve(kept, tensors={f"features.{key}": value for key, value in kept.tensors.items()})
