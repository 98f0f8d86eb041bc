"""Putting weights into a module, strictly."""

from collections.abc import Collection

from torch import Tensor, nn

from ardistill.errors import WeightsError
from ardistill.weights.reading import Weights

_KEYS_SHOWN = 10


def _kind(tensor: Tensor) -> str:
    """Shape and sort of number: float16 weights fit a float32 network, bytes do not."""
    return f"{'float' if tensor.is_floating_point() else 'integer'} {list(tensor.shape)}"


def load_strict(
    module: nn.Module, weights: Weights, what: str, *, derived: Collection[str] = (), hint: str = ""
) -> None:
    """Loads every tensor of `module` from `weights`; names what is missing, unexpected or misshapen (ten at most).

    `derived` are last parts of keys whose tensors follow from the configuration: a file may lack them, and what it has
    is loaded. `hint` ends the message of a misfit. Parameters on the meta device are made by loading them.
    """
    wanted = {key: _kind(value) for key, value in module.state_dict().items()}
    given = {key: _kind(value) for key, value in weights.tensors.items()}
    faults = [
        f"{key} is missing" for key in wanted if key not in given and key.rpartition(".")[2] not in derived
    ]
    faults += [f"{key} is unexpected" for key in given if key not in wanted]
    faults += [
        f"{key} is {given[key]} instead of {kind}"
        for key, kind in wanted.items()
        if key in given and given[key] != kind
    ]
    if faults:
        more = f" and {len(faults) - _KEYS_SHOWN} more" if len(faults) > _KEYS_SHOWN else ""
        raise WeightsError(
            f"{weights.path} does not fit {what}: {'; '.join(faults[:_KEYS_SHOWN])}{more}{hint}"
        )
    for key, value in weights.tensors.items():
        if value.is_floating_point() and bool(value.isnan().any()):
            raise WeightsError(f"{weights.path} holds NaN in {key}; it was damaged, or its training failed")
    module.load_state_dict(dict(weights.tensors), strict=False)
