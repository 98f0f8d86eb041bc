"""Sharding the blocks of all networks over the processes (FSDP2, torch.distributed.fsdp.fully_shard).

Methods call parts of their networks, so that the blocks are sharded and not the networks: a block's weights are
gathered when it is called and let go behind it, forward and back, and its gradients are summed, each process keeping
its rows. What lies outside of blocks (embeddings, heads, norms) stays whole everywhere.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import torch
from torch import nn
from torch.torch_version import TorchVersion

from ardistill.errors import ConfigError
from ardistill.training.blocks import repeating
from ardistill.training.world import World

Parallel = Literal["ddp", "fsdp"]

LEAST_TORCH = "2.9"
"""The first whose FSDP2 is sure to sum gradients rather than to average them on every backend."""
_REPLICATED = "give train.parallel=ddp, which keeps all weights on every process"


def check_torch(version: str = torch.__version__) -> None:
    """Raises ConfigError where torch is too old."""
    if TorchVersion(version) < LEAST_TORCH:
        raise ConfigError(
            f"train.parallel=fsdp needs torch {LEAST_TORCH} or newer, and this is {version}; update it, or "
            + _REPLICATED
        )


def sharded_blocks(networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The blocks of all networks that have weights, by name, each once.

    Raises ConfigError where a weight belongs to a block and to something else besides: it would become two.
    """
    inside = {id(block) for network in networks.values() for block in repeating(network)}
    found: dict[int, tuple[str, nn.Module]] = {}
    owners: defaultdict[int, dict[str, str]] = defaultdict(
        dict
    )  # by weight: owner -> the weight's name there
    for network, module in networks.items():
        for path, part in _parts(network, module, inside):
            if id(part) in inside:
                found.setdefault(id(part), (path, part))
            else:
                for name, weight in part.named_parameters(recurse=False):
                    owners[id(weight)].setdefault("", f"{path}.{name}")
    blocks = {path: block for path, block in found.values() if any(True for _ in block.parameters())}
    for path, block in blocks.items():
        for name, weight in block.named_parameters(prefix=path):
            owners[id(weight)][path] = name
    for names in owners.values():
        if len(names) > 1:
            one, *_, other = sorted(names)
            raise ConfigError(
                f"train.parallel=fsdp can't shard {names[other]}, which is {names[one]} as well; {_REPLICATED}"
            )
    return blocks


def _parts(path: str, module: nn.Module, inside: Collection[int]) -> Iterator[tuple[str, nn.Module]]:
    """The module and its parts by name, down to the blocks; what is reached by two ways comes twice."""
    yield path, module
    if id(module) not in inside:
        for name, child in module.named_children():
            yield from _parts(f"{path}.{name}", child, inside)


def shard(networks: Mapping[str, nn.Module], world: World) -> None:
    """Shards the blocks in place; every process calls it, with the same weights.

    Raises ConfigError, in every process, where something can't be sharded.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    blocks = sharded_blocks(networks)
    if world.first and networks and not blocks:
        logging.getLogger("ardistill").warning(
            "train.parallel=fsdp finds no blocks in what is trained: all weights stay on every process"
        )
    with world.meeting():
        mesh = init_device_mesh(torch.device(world.device).type, (world.size,))
    for name, block in blocks.items():
        single = {weight for weight in block.parameters() if not weight.ndim}  # which has no rows
        try:
            sharded = fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=single)
        except (ValueError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"train.parallel=fsdp can't shard the block {name} ({reason}); {_REPLICATED}"
            ) from error
        sharded.set_gradient_divide_factor(
            1.0
        )  # losses are scaled so that their sum over processes is wanted
        sharded.set_force_sum_reduction_for_comms(True)  # gloo, for one, can't divide
