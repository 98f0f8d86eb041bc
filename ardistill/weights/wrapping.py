"""From what a file holds to the state dict in it.

Trainers put their weights under keys of their own, next to optimisers and counters. The rules, in this order:

    trainer                                     the DD1 students of VAR, VAR's own training
    ema_parameters, ema                         averaged weights, which official evaluation takes
    var_wo_ddp, model, module, state_dict       the weights as trained: VAR, LlamaGen, deepspeed, Lightning

Averaged weights that share no name with the trained ones beside them are an averager's counters, and passed over.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ardistill.weights.contents import UnreadableError
from ardistill.wording import listed, shown

Prefer = Literal["ema", "raw"]

_OUTER = ("trainer",)
_EMA = ("ema_parameters", "ema")
_RAW = ("var_wo_ddp", "model", "module", "state_dict")
_DDP = "module."
_COMPILED = re.compile(r"(?<![^.])(_orig_mod\.)+")
_PREFIXES = re.compile(r"(?<![^.])(module\.|_orig_mod\.)+")
_SHOWN = 8


def unwrapped(content: object, prefer: Prefer) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors by key, and the keys that led to them; the prefixes of DDP and torch.compile are taken off.

    `prefer` says which to take of averaged and trained weights where there are both. Raises UnreadableError
    where there is no state dict, and where "raw" is asked for and all are averaged.
    """
    taken: list[str] = []
    order = (*_OUTER, *_EMA, *_RAW) if prefer == "ema" else (*_OUTER, *_RAW, *_EMA)
    while (inner := _inner(content, order)) is not None:
        taken.append(inner[0])
        content = inner[1]
    if prefer == "raw" and any(key in _EMA for key in taken):
        raise UnreadableError("it holds averaged (EMA) weights only; ask for prefer=ema")
    return plain_keys(_state_dict(content)), tuple(taken)


def plain_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys without the prefixes that DDP and torch.compile put before them, once or more."""
    plain = {_COMPILED.sub("", key): value for key, value in tensors.items()}
    if len(plain) != len(tensors):
        raise UnreadableError(
            "it holds some keys twice, with and without torch.compile's _orig_mod; save it again"
        )
    while plain and all(key.startswith(_DDP) for key in plain):
        plain = {key.removeprefix(_DDP): value for key, value in plain.items()}
    return plain


def _inner(content: object, order: tuple[str, ...]) -> tuple[str, object] | None:
    """The first key of `order` below which there are weights, and what is there."""
    if not isinstance(content, dict):
        return None
    found = {key: content[key] for key in order if _leads_to_weights(content.get(key))}
    trained = next((key for key in _RAW if key in found), None)
    if trained is not None:
        names = _names(found[trained])
        counters = [key for key in _EMA if key in found and _is_flat(found[key])]
        found = {k: v for k, v in found.items() if k not in counters or _names(v) & names}
    return next(iter(found.items()), None)


def _names(content: object) -> set[str]:
    """The names of the tensors that `content` leads to, without prefixes."""
    while (inner := _inner(content, (*_OUTER, *_RAW))) is not None:
        content = inner[1]
    keys = (
        [key for key, value in content.items() if isinstance(value, Tensor)]
        if isinstance(content, dict)
        else []
    )
    return {_PREFIXES.sub("", str(key)) for key in keys}


def _is_flat(content: object) -> bool:
    """Whether it has no dicts, in which weights might be."""
    return isinstance(content, dict) and not any(isinstance(value, dict) for value in content.values())


def _leads_to_weights(content: object) -> bool:
    if not isinstance(content, dict):
        return False
    if any(isinstance(value, Tensor) for value in content.values()):
        return True
    return any(_leads_to_weights(content.get(key)) for key in (*_OUTER, *_EMA, *_RAW))


def _state_dict(content: object) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        raise UnreadableError(f"it holds no state dict but {_a_type(content)}; save a state_dict alone")
    if content and not any(isinstance(value, Tensor) for value in content.values()):
        keys = shown(listed(map(str, list(content)[:_SHOWN])))
        known = listed((*_OUTER, *_EMA, *_RAW))
        raise UnreadableError(
            f"none of its keys, {keys}, leads to a state dict; expected one itself, or under {known}"
        )
    return {_name(key): _plain(key, value) for key, value in content.items()}


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise UnreadableError(
            f"its state dict has the key {shown(key)}, which is no text; save a state_dict alone"
        )
    return key


def _plain(key: object, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise UnreadableError(
            f"{shown(key)} is {_a_type(value)} among the tensors of its state dict; save tensors alone"
        )
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        raise UnreadableError(f"{shown(key)} is sparse, quantised or without data; save plain tensors")
    if value.nbytes > value.untyped_storage().nbytes():  # whoever copied it would need memory without bounds
        raise UnreadableError(
            f"{shown(key)} repeats numbers that the file holds once; save it after .contiguous()"
        )
    return value.detach()


def _a_type(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
