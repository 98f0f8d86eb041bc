"""What a call computes and reads, counted while it runs: floating-point operations, and bytes of weights.

Source of the formulas: `torch.utils.flop_counter`, which has one for each matrix product, convolution and attention.
All else (norms, activations, sampling) is left out: it is a small share of the operations, if not of the time.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_LOOKUPS = frozenset(
    {torch.ops.aten.embedding, torch.ops.aten.index, torch.ops.aten.index_select, torch.ops.aten.gather}
)
"""They read the rows that they give, not the whole table."""


@attrs.frozen
class Cost:
    """Of one call."""

    flops: int
    """A multiplication and an addition are two."""
    weight_bytes: int
    """Of parameters, as often as they are read: a network called ten times reads its weights ten times."""


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.bytes = 0
        self._storages = {each.untyped_storage().data_ptr() for each in parameters}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **kwargs, out_val=out)
        if not _is_view(func):
            self.bytes += sum(self._read(packet, each, out) for each in tree_leaves((args, kwargs)))
        return out

    def _read(self, packet: Any, given: Any, out: Any) -> int:
        """Bytes of a parameter, or of a view of one; a view that repeats it is read once."""
        if not isinstance(given, Tensor):
            return 0
        storage = given.untyped_storage()
        if storage.data_ptr() not in self._storages:
            return 0
        read = out if packet in _LOOKUPS else given
        return min(read.numel() * read.element_size(), storage.nbytes())


def _is_view(func: Any) -> bool:
    """Whether it gives its argument's own memory, and so reads nothing."""
    return any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)


def cost_of(call: Callable[[], object], parameters: Iterable[Tensor]) -> Cost:
    """Makes the call once, far slower than it is."""
    with _Counting(parameters) as counted:
        call()
    return Cost(counted.flops, counted.bytes)
