"""Weights of any known wrapping, read without unpickling, loaded strictly, written as safetensors.

Our own files are safetensors whose metadata key "ardistill" holds JSON: what the weights are and how to rebuild them.
"""

from ardistill.weights.describing import bundled_or, children, deduced, described
from ardistill.weights.loading import load_strict
from ardistill.weights.reading import Weights, read_weights
from ardistill.weights.writing import write_weights

__all__ = [
    "Weights",
    "bundled_or",
    "children",
    "deduced",
    "described",
    "load_strict",
    "read_weights",
    "write_weights",
]
