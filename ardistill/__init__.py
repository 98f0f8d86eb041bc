"""ardistill: one-step generators distilled from image autoregressive models."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ardistill.launch.distilling import distill
    from ardistill.launch.loading import draw, load_dataset, load_student, load_teacher, load_tokenizer

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "distill",
    "draw",
    "load_dataset",
    "load_student",
    "load_teacher",
    "load_tokenizer",
]


def __getattr__(name: str) -> object:
    """The functions import torch, so only when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "ardistill.launch.distilling" if name == "distill" else "ardistill.launch.loading"
    return getattr(import_module(place), name)
