"""Models and optimisers as flat tensors, and back."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ardistill.training.checkpoints.manifest import MODULES, OPTIMISERS, Position, pieces_of
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
    """Loads every module of the method from a checkpoint, strictly; of sharded ones this process's shards."""
    tensors = flatten(modules)
    pieces_of(path, MODULES).of_those(modules).fill(tensors)
    for name, module in modules.items():  # which hold the numbers already; but some make others of them
        module.load_state_dict(unflatten(tensors, name))


def restore_optimisers(path: Path, position: Position, optimisers: Mapping[str, Optimiser]) -> None:
    pieces = pieces_of(path, OPTIMISERS).of_those(optimisers)
    tensors = {}
    for key in pieces.sizes:
        role, _, name = key.partition(".")
        tensors[key] = optimisers[role].room(name, pieces.like(key))
    pieces.fill(tensors)
    for role, optimiser in optimisers.items():
        optimiser.load(unflatten(tensors, role), position.role_updates.get(role, 0))
