"""A digest of all weights of a model, as quickly as the processor's cores can read them.

Every tensor is hashed by itself, on a thread of its own; one tensor a thread is copied at most.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

_BYTES = 16
_MOST_THREADS = 16


def contents_digest(thing: object, codes_VC: Tensor, without: nn.Module | None = None) -> str:
    """32 hex digits from the names, dtypes, shapes and bytes of a module's state; the same on every device.

    `without` is a submodule to leave out, wherever it stands. Of what is no module, only the codebook is known.
    """
    state = _state(thing, without) if isinstance(thing, nn.Module) else iter([("codebook", codes_VC)])
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        digests = list(pool.map(_digest, sorted(state, key=lambda entry: entry[0])))
    return blake2b(b"".join(digests), digest_size=_BYTES).hexdigest()


def _state(module: nn.Module, without: nn.Module | None) -> Iterator[tuple[str, Any]]:
    """The entries of the state dict; tensors are the module's own, not copies."""
    named = module.named_modules(remove_duplicate=False)
    left_out = tuple(f"{name}." for name, part in named if part is without)
    for key, value in module.state_dict().items():
        if not key.startswith(left_out):
            yield key, value


def _digest(entry: tuple[str, Any]) -> bytes:
    key, value = entry
    if not isinstance(value, Tensor):  # a module's extra state
        return blake2b(f"{key}\0{value!r}".encode(), digest_size=_BYTES).digest()
    digest = blake2b(f"{key}\0{value.dtype}\0{tuple(value.shape)}\0".encode(), digest_size=_BYTES)
    if value.numel():  # torch views nothing else as bytes
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()
