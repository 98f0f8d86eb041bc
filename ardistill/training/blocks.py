"""What repeats inside a trained network, its blocks: compiled, or run once more on the way back to save memory.

Both are done in place and leave every key of a state dict as it is. Blocks rather than whole networks, since methods
call parts of their networks, and since one compiled block serves all of its like.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks(network: nn.Module) -> list[nn.Module]:
    """The outermost entries of the network's lists that have parts themselves; the network where there are none."""
    return repeating(network) or [network]


def repeating(network: nn.Module) -> list[nn.Module]:
    """The same, and nothing where there are none. A list within a list is no block, and its entries are."""
    return list(_blocks(network))


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    entries = list(module) if isinstance(module, nn.ModuleList) else []
    if any(True for entry in entries for _ in entry.children()):
        for entry in entries:
            if isinstance(entry, nn.ModuleList | nn.ModuleDict):
                yield from _blocks(entry)
            else:
                yield entry
    else:
        for child in module.children():
            yield from _blocks(child)


def prepare_blocks(networks: Iterable[nn.Module], *, compile: bool, checkpointing: bool) -> None:  # noqa: A002
    """Of all networks, each block once."""
    unique = {id(block): block for network in networks for block in blocks(network)}
    for block in unique.values():
        if checkpointing:
            _keep_inputs_only(block)
        if compile:
            block.compile()


def _keep_inputs_only(block: nn.Module) -> None:
    """Gives the block a class whose `forward` is the old one under activation checkpointing, where gradients are due.

    A class rather than an attribute, so that a deep copy of the block runs on its own weights; one for all blocks of a
    class, since what is compiled is compiled anew for each class.
    """
    plain: Any = type(block)
    block.__class__ = _keeping(plain)


@cache
def _keeping(plain: type[nn.Module]) -> type[nn.Module]:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain.forward(self, *args, **kwargs)
        return checkpoint(plain.forward, self, *args, use_reentrant=False, **kwargs)

    return type(plain.__name__, (plain,), {"forward": forward, "__module__": plain.__module__})
