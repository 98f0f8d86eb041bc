"""What a file of weights holds, as far as its keys tell, and refusals that say so. Shared by the loaders here.

Legend: L tokens of all scales.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from ardistill_vqgan.contents import VAR_STUDENT, VAR_TEACHER, VAR_TOKENIZER, check_kind
from torch import Tensor, nn

from ardistill.errors import ConfigError, MisfitError, WeightsError
from ardistill.weights import Weights
from ardistill_var.config import PATCH_NUMS_256, PATCH_NUMS_512
from ardistill_var.structure import STRUCTURAL

T = TypeVar("T")

_KINDS = {kind.name: kind for kind in (VAR_STUDENT, VAR_TEACHER, VAR_TOKENIZER)}
STUDENT, TEACHER, TOKENIZER = _KINDS
_RELEASED = {sum(pn * pn for pn in scales): scales for scales in (PATCH_NUMS_256, PATCH_NUMS_512)}


def read_sizes(read: Callable[[Mapping[str, Tensor]], T], file: Weights, kind: str, word: str) -> T:
    """What `read` finds in a file of this kind (STUDENT, TEACHER, TOKENIZER); `word` is where a user gives one."""
    check_kind(file, _KINDS[kind], word)
    try:
        return read(file.tensors)
    except KeyError as error:
        raise WeightsError(
            f"{file.where} holds {kind} without its {error.args[0]}; it is not whole"
        ) from error
    except ConfigError as error:
        raise WeightsError(f"{file.where} holds {kind} that can't be used: {error}") from error
    except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError, RuntimeError) as error:
        raise WeightsError(
            f"{file.where} holds {kind} whose tensors have no shapes of a network; it was altered or damaged"
        ) from error


def scales_of(tensors: Mapping[str, Tensor], otherwise: tuple[int, ...] | None) -> tuple[int, ...]:
    """The sides of a transformer's scales: from `lvl_1L`, else as told, else those released for as many tokens."""
    n_tokens = tensors["pos_1LC"].shape[1]
    if "lvl_1L" not in tensors:
        scales = otherwise or _RELEASED.get(n_tokens)
        if scales is None or sum(pn * pn for pn in scales) != n_tokens:
            raise ConfigError(
                f"it says nothing of the scales of its {n_tokens} tokens; give them as teacher.tokenizer.v_patch_nums"
            )
        return scales
    level_L = tensors["lvl_1L"].flatten().to(torch.int64)
    order, counts = torch.unique_consecutive(level_L, return_counts=True)
    sides = tuple(math.isqrt(count) for count in counts.tolist())
    in_order = order.tolist() == list(range(len(sides)))
    if not in_order or any(side * side != count for side, count in zip(sides, counts.tolist(), strict=True)):
        raise ConfigError("its lvl_1L does not list square scales in order")
    if len(level_L) != n_tokens:
        raise ConfigError(f"its lvl_1L lists {len(level_L)} tokens, and pos_1LC has {n_tokens}")
    return sides


def check_structure(module: nn.Module, file: Weights, what: str) -> None:
    """Refuses structural tensors that have our shapes and say something else; load_strict refuses other shapes."""
    for key, ours in module.state_dict().items():
        theirs = file.tensors.get(key)
        if theirs is None or key.rpartition(".")[2] not in STRUCTURAL or theirs.shape != ours.shape:
            continue
        if not torch.equal(theirs.to(ours), ours):
            raise MisfitError(
                f"{file.where} does not fit {what}: its {key} was made for other scales or another mask; "
                "give weights that were trained with these"
            )


def agree(word: str, given: Any, found: Any) -> None:
    """Refuses a word that contradicts the weights; None is no word."""
    if given is not None and given != found:
        told_given, told_found = (
            ",".join(map(str, value)) if isinstance(value, tuple) else value for value in (given, found)
        )
        raise ConfigError(f"{word}={told_given} is not what the weights say, {told_found}; leave it out")
