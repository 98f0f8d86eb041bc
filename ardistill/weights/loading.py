"""Putting weights into a module, strictly."""

from collections.abc import Collection, Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from ardistill.errors import MisfitError, WeightsError
from ardistill.weights.naming import named
from ardistill.weights.progress import Meter
from ardistill.weights.reading import Weights

_KEYS_SHOWN = 10


def load_strict(
    module: nn.Module, weights: Weights, what: str, *, derived: Collection[str] = (), hint: str = ""
) -> None:
    """Loads every tensor of `module` from `weights`; names what is missing, unexpected or misshapen (ten at most).

    `derived` are last parts of keys whose tensors follow from the configuration: a file may lack them, and what it has
    is loaded. `hint` ends the message of a misfit. Tensors of the module on the meta device are made anew, on the CPU
    and in their own dtype; the others are copied into. Nothing of the module lies in the file afterwards, and beyond
    the module no more memory is taken than the file's pages that the system keeps at will.

    Raises MisfitError, or WeightsError for NaN and, in parameters, for infinities and what becomes one in the module's
    dtype (buffers such as masks may hold them), before the module is changed. Raises AssertionError where a tensor of
    the module is on the meta device afterwards: whoever builds a module there makes its derived buffers, and those
    outside of the state dict, elsewhere.
    """
    targets: dict[str, Tensor] = module.state_dict(keep_vars=True)
    if faults := _faults(targets, weights.tensors, derived):
        more = f" and {len(faults) - _KEYS_SHOWN} more" if len(faults) > _KEYS_SHOWN else ""
        raise MisfitError(
            f"{weights.where} does not fit {what}: {'; '.join(faults[:_KEYS_SHOWN])}{more}{hint}"
        )
    made: dict[int, Tensor] = {}  # by the target's id, since modules may share one under two keys
    fresh: dict[str, Tensor] = {}
    meter = Meter(sum(value.nbytes for value in weights.tensors.values()), f"loading {weights.path.name}")
    for key, value in weights.tensors.items():
        target = targets[key]
        _check_numbers(weights, key, target.dtype, finite=isinstance(target, nn.Parameter))
        if target.is_meta:
            fresh[key] = made[id(target)] = _filled(made.get(id(target), target), value)
        meter.add(value.nbytes)
    module.load_state_dict(fresh, strict=False, assign=True)
    module.load_state_dict({k: v for k, v in weights.tensors.items() if k not in fresh}, strict=False)
    _check_all_there(module, what)


def _faults(
    targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], derived: Collection[str]
) -> list[str]:
    wanted = {key: _kind(value) for key, value in targets.items()}
    given = {key: _kind(value) for key, value in tensors.items()}
    missing = [key for key in wanted if key not in given and key.rpartition(".")[2] not in derived]
    return [
        *(f"{key} is missing" for key in missing),
        *(f"{named(key)} is unexpected" for key in given if key not in wanted),
        *(
            f"{key} is {given[key]} instead of {kind}"
            for key, kind in wanted.items()
            if key in given and given[key] != kind
        ),
    ]


def _kind(tensor: Tensor) -> str:
    """Shape and sort of number: float16 weights fit a float32 network, bytes do not."""
    plain = "bool" if tensor.dtype is torch.bool else "complex" if tensor.is_complex() else "integer"
    return f"{'float' if tensor.is_floating_point() else plain} {list(tensor.shape)}"


def _check_numbers(weights: Weights, key: str, dtype: torch.dtype, *, finite: bool) -> None:
    """One pass over the tensor, without a copy of it: NaN spreads to the largest and the least.

    Where they are finite in `dtype` too, all numbers are.
    """
    value = weights.tensors[key]
    if not value.is_floating_point() or not value.numel():
        return
    least, largest = (value if value.itemsize > 1 else value.half()).aminmax()
    if bool(largest.isnan()):
        raise WeightsError(f"{weights.path} holds NaN in {key}; it was damaged, or its training failed")
    if finite and not (bool(least.isfinite()) and bool(largest.isfinite())):
        raise WeightsError(
            f"{weights.path} holds an infinity in {key}; it was damaged, or its training failed"
        )
    if finite and not (bool(least.to(dtype).isfinite()) and bool(largest.to(dtype).isfinite())):
        own = str(dtype).removeprefix("torch.")
        raise WeightsError(
            f"{weights.path} holds numbers in {key} that are too large for {own}; "
            "it was damaged, or is made for another precision"
        )


def _filled(target: Tensor, value: Tensor) -> Tensor:
    """`target`, or a new tensor like it if it is on the meta device, with the numbers of `value`."""
    if not target.is_meta:
        with torch.no_grad():
            return target.copy_(value)
    data = torch.empty(target.shape, dtype=target.dtype, device="cpu").copy_(value)
    return nn.Parameter(data, target.requires_grad) if isinstance(target, nn.Parameter) else data


def _check_all_there(module: nn.Module, what: str) -> None:
    tensors = chain(module.named_parameters(), module.named_buffers())
    left = [key for key, value in tensors if value.is_meta]
    if left:
        raise AssertionError(
            f"{what} has tensors without data after loading: {', '.join(left[:_KEYS_SHOWN])}; "
            "make what no file holds off the meta device"
        )
