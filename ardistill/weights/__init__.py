"""Weights of any known wrapping, read without unpickling, loaded strictly, written as safetensors.

Our own files are safetensors whose metadata key "ardistill" holds JSON: what the weights are and how to rebuild them.
"""

from ardistill.weights.converting import Converted, convert
from ardistill.weights.describing import bundled_or, children, deduced, described
from ardistill.weights.hub import is_remote
from ardistill.weights.loading import load_strict
from ardistill.weights.progress import reporting
from ardistill.weights.reading import Weights, read_weights
from ardistill.weights.wrapping import Prefer
from ardistill.weights.writing import write_weights

__all__ = [
    "Converted",
    "Prefer",
    "Weights",
    "bundled_or",
    "children",
    "convert",
    "deduced",
    "described",
    "is_remote",
    "load_strict",
    "read_weights",
    "reporting",
    "write_weights",
]
