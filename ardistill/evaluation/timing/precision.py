"""The numbers that networks are made of and computed in.

fp32 is just that, on a GPU too: convolutions, which torch lets be of TF32 there, are not. tf32 lets products and
convolutions of float32 be rounded so. In bf16 and fp16 the weights are held in it, so that no step reads more than two
bytes a weight nor casts them, and autocast computes in it what may be: where a network is particular about float32
(norms, softmax, filters), it stays so.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import nn

from ardistill.errors import ConfigError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}

HELD = {
    "fp32": "float32 throughout, without TF32",
    "tf32": "float32, products and convolutions in TF32",
    "bf16": "weights cast to bfloat16, autocast for what is computed",
    "fp16": "weights cast to float16, autocast for what is computed",
}
"""What each is, for readers of a figure."""


def dtype_of(precision: Precision) -> torch.dtype:
    """Of weights and products."""
    return HALVES.get(precision, torch.float32)


def check(precision: Precision, device: torch.device) -> None:
    """Raises ConfigError where the device does not compute in it."""
    if device.type == "cpu" and precision in {"tf32", "fp16"}:
        raise ConfigError(f"precision={precision} is for a GPU, and this is a CPU; give fp32 or bf16")


def hold(module: nn.Module, precision: Precision) -> None:
    """Casts the parameters in place. Buffers stay: masks, tables of angles, whatever is no weight."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype_of(precision))


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Within, products are computed in it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    half = HALVES.get(precision)
    try:
        with nullcontext() if half is None else torch.autocast(device.type, dtype=half):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
