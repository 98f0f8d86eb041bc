"""ardistill: one-step generators distilled from image autoregressive models."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ardistill.launch.loading import draw, load_student, load_teacher, load_tokenizer

__version__ = "0.1.0"
__all__ = ["__version__", "draw", "load_student", "load_teacher", "load_tokenizer"]

_LOADERS = "ardistill.launch.loading"
"""Imports torch, so only when it is asked for."""


def __getattr__(name: str) -> object:
    if name in {"draw", "load_student", "load_teacher", "load_tokenizer"}:
        return getattr(import_module(_LOADERS), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
