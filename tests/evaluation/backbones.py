"""Backbones of LPIPS filled by a rule, and the package's own network with them."""

import warnings

import lpips
import torch
import torchvision


def made_up(state, scale=0.05):
    """The state dict filled by a rule, small enough that no activation explodes."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: scale * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for key, value in state.items()
    }


def backbone(net):
    """torchvision's own keys and shapes of the convolutions, and of one layer of the classifier."""
    with torch.device("meta"):
        model = {"alex": torchvision.models.alexnet, "vgg": torchvision.models.vgg16}[net](weights=None)
    state = {key: torch.empty(value.shape) for key, value in model.features.state_dict().items()}
    return made_up(
        {f"features.{key}": value for key, value in state.items()} | {"classifier.6.bias": torch.ones(10)}
    )


def by_hand(net, state):
    """The package's own network, its backbone filled by hand."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    slices = [part for name, part in network.net.named_children() if name.startswith("slice")]
    for part in slices:
        for index, layer in part.named_children():
            for name in ("weight", "bias"):
                if f"features.{index}.{name}" in state:
                    getattr(layer, name).data.copy_(state[f"features.{index}.{name}"])
    return network
