"""What checks look at: tensors inside of things, their bits and memory, randomness, distances.

Shape legend: N any leading shape, V codes.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from types import FunctionType, MethodType, ModuleType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ardistill.testing.conformity import expect

T = TypeVar("T")

_DEEPEST = 12
_CLOSED = (str, bytes, int, float, type, ModuleType, FunctionType, MethodType, torch.dtype, torch.device)

TOLERANCE = 1e-4
"""Of numbers that another batch size may round otherwise, relative to the largest."""


def tensors_of(thing: object) -> dict[str, Tensor]:
    """Every tensor that can be reached from a thing's attributes, by its path, each once."""
    found: dict[str, Tensor] = {}
    _walk(thing, "", 0, set(), found)
    return found


def _walk(thing: object, path: str, depth: int, seen: set[int], found: dict[str, Tensor]) -> None:
    if isinstance(thing, _CLOSED) or thing is None or id(thing) in seen or depth > _DEEPEST:
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        found[path] = thing
        return
    for name, part in _parts(thing):
        _walk(part, f"{path}.{name}" if path else name, depth + 1, seen, found)


def _parts(thing: object) -> Iterator[tuple[str, object]]:
    if isinstance(thing, nn.Module):
        for registered in (thing._parameters, thing._buffers, thing._modules):
            yield from registered.items()
        yield from ((k, v) for k, v in vars(thing).items() if not k.startswith("_"))
    elif isinstance(thing, Mapping):
        yield from ((str(key), part) for key, part in thing.items())
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from ((str(index), part) for index, part in enumerate(thing))
    else:
        yield from getattr(thing, "__dict__", {}).items()
        slots = [slot for cls in type(thing).__mro__ for slot in getattr(cls, "__slots__", ())]
        yield from ((slot, getattr(thing, slot, None)) for slot in slots if slot != "__weakref__")


def bits(tensor: Tensor) -> bytes:
    """A digest of a tensor's dtype, shape and bytes."""
    digest = blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    if tensor.numel() and not tensor.is_meta:
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def all_bits(thing: object) -> dict[str, bytes]:
    """The digests of all tensors of a thing."""
    return {path: bits(tensor) for path, tensor in tensors_of(thing).items()}


def expect_unchanged(before: Mapping[str, bytes], thing: object, what: str) -> None:
    """Whether the tensors that were there are as they were; new ones, such as caches, do not matter."""
    now = all_bits(thing)
    changed = [path for path, digest in before.items() if now.get(path, digest) != digest]
    expect(not changed, f"{what} changed its {_some(changed)}")


def gradients(thing: object) -> dict[str, bytes]:
    """The digests of the gradients that a thing's tensors hold."""
    grads = {path: tensor.grad for path, tensor in tensors_of(thing).items() if tensor.is_leaf}
    return {path: bits(grad) for path, grad in grads.items() if grad is not None}


def expect_no_gradients(before: Mapping[str, bytes], thing: object, what: str) -> None:
    """Whether the thing's tensors hold no gradients but those they held."""
    new = [path for path, digest in gradients(thing).items() if before.get(path) != digest]
    expect(not new, f"a gradient in {what}'s {_some(new)}")


def expect_apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor], said: str) -> None:
    """Whether no two tensors share memory; `said` is how the finding goes on."""
    where = {_memory(tensor): path for path, tensor in other.items() if _memory(tensor)}
    shared = [f"{path} ({where[_memory(t)]})" for path, t in one.items() if _memory(t) in where]
    expect(not shared, f"{_some(shared)} {said}")


def _memory(tensor: Tensor) -> int:
    return 0 if tensor.is_meta else tensor.untyped_storage().data_ptr()


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextmanager
def global_seeds(seed: int) -> Iterator[None]:
    """The global generators of Python, numpy and torch at `seed`; as they were, afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 a plugin may use it
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def twice(make: Callable[[], T]) -> tuple[T, T]:
    """What is made under one seed of the global generators, and under another."""
    with global_seeds(1):
        first = make()
    with global_seeds(2):
        return first, make()


def expect_same_twice(make: Callable[[], Tensor], what: str) -> None:
    """Whether the same is made whatever the global generators are seeded with."""
    first, second = twice(make)
    expect(
        bits(first) == bits(second),
        f"{what} came out differently the second time, by up to {furthest(first, second):.3g}: "
        "global randomness, or a state of its own, plays a part",
    )


def furthest(one: Tensor, other: Tensor) -> float:
    """The largest difference; infinite where shapes differ, or one alone is not finite."""
    if one.shape != other.shape:
        return float("inf")
    gap = torch.where(one == other, 0.0, (one.double() - other.double()).abs()).nan_to_num(float("inf"))
    return float(gap.max()) if gap.numel() else 0.0


def expect_close(one: Tensor, other: Tensor, found: str, tolerance: float = TOLERANCE) -> None:
    """Whether two tensors agree, relative to the largest number; `found` says what differs."""
    size = float(other.double().abs().max()) if other.numel() else 0.0
    apart = furthest(one, other)
    expect(apart <= tolerance * (1 + size), f"{found} by {apart:.3g}")


def variation(log_p_NV: Tensor, log_q_NV: Tensor) -> float:
    """The largest total variation between distributions."""
    gap_N = 0.5 * (log_p_NV.double().exp() - log_q_NV.double().exp()).abs().sum(-1)
    return float(gap_N.max()) if gap_N.numel() else 0.0


def told(tensor: Tensor) -> str:
    """A tensor in a few words."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)} on {tensor.device}"


def expect_tensor(
    tensor: object, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, what: str
) -> None:
    """Whether it is a tensor of that shape and dtype, there."""
    expect(isinstance(tensor, Tensor), f"{what} is {type(tensor).__name__}, not a tensor")
    assert isinstance(tensor, Tensor)
    wanted = f"{str(dtype).removeprefix('torch.')} {shape} on {device}"
    fits = tensor.shape == shape and tensor.dtype == dtype and tensor.device == device
    expect(fits, f"{what} is {told(tensor)} instead of {wanted}")


def stir(module: nn.Module, seed: int = 0) -> None:
    """Moves every parameter a little in place, registered or not, so that none is where it began."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in tensors_of(module).values():
            if isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and not tensor.is_meta:
                tensor.add_(0.05 * torch.randn(tensor.shape, generator=generator).to(tensor))
