"""Other ways to run a network's layers for a while, the modules themselves unchanged.

Shape legend: N any leading shape, I inputs, O outputs of a linear layer.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Forward = Callable[..., Any]

_LEAST = 1 << 18
"""Weights of a layer that is worth packing; below, calling oneDNN costs more than its layout saves."""


@contextmanager
def swapped(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Within, the modules run these in place of their own `forward`."""
    own = {module: vars(module)["forward"] for module in forwards if "forward" in vars(module)}
    for module, forward in forwards.items():
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module in forwards:
            del vars(module)["forward"]
            if module in own:
                vars(module)["forward"] = own[module]


@contextmanager
def packed(*networks: object) -> Iterator[None]:
    """Within, linear layers of these in float32 on a CPU multiply by copies of their weights in oneDNN's own layout.

    PyTorch hands such products to MKL, with weights as they lie; on packed weights oneDNN takes half to four fifths of
    the time (docs/bench.md). Outputs agree to float32's rounding. Small layers run as ever, and so do calls under
    gradients, autocast or torch.compile. The copies take as much memory as the weights, which must not change
    meanwhile. What is no module is passed over.
    """
    modules = [network for network in networks if isinstance(network, nn.Module)]
    layers = dict.fromkeys(layer for module in modules for layer in module.modules() if packable(layer))
    with swapped({layer: partial(_linear, layer, _pack(layer.weight)) for layer in layers}):
        yield


def packable(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is a linear layer in float32 on a CPU, and large enough for its layout to matter."""
    if type(layer) is not nn.Linear or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    weight_OI = layer.weight
    return weight_OI.device.type == "cpu" and weight_OI.dtype == torch.float32 and weight_OI.numel() >= _LEAST


def _pack(weight_OI: Tensor) -> Tensor:
    packed_OI: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach())
    return packed_OI


def _linear(layer: nn.Linear, packed_OI: Tensor, x_NI: Tensor) -> Tensor:
    """(N, O)."""
    as_ever = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    if as_ever or x_NI.dtype != torch.float32:
        return F.linear(x_NI, layer.weight, layer.bias)
    made_NO: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, packed_OI, layer.bias, "none", [], "")
    return made_NO
