"""Models and optimisers as flat tensors, and back."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from ardistill.training.checkpoints.manifest import MODULES, OPTIMISERS, Position
from ardistill.training.optimise import Optimiser


def flatten(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """One state dict for all modules, keys prefixed by the module's name; the tensors themselves, where they lie."""
    return {
        f"{name}.{key}": value.detach()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def unflatten(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def flatten_optimisers(optimisers: Mapping[str, Optimiser]) -> dict[str, Tensor]:
    """Likewise for the optimisers, by role."""
    return {
        f"{role}.{key}": value
        for role, optimiser in optimisers.items()
        for key, value in optimiser.state().items()
    }


def restore(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Loads every module of the method from a checkpoint, strictly."""
    tensors = load_file(path / MODULES)
    for name, module in modules.items():
        module.load_state_dict(unflatten(tensors, name))


def restore_optimisers(path: Path, position: Position, optimisers: Mapping[str, Optimiser]) -> None:
    tensors = load_file(path / OPTIMISERS)
    for role, optimiser in optimisers.items():
        optimiser.load(unflatten(tensors, role), position.role_updates.get(role, 0))
