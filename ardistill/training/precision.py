"""In what precision the losses are computed; weights, gradients and the optimiser stay float32 throughout."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from ardistill.training.faults import TrainingError

Precision = Literal["fp32", "bf16", "fp16"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Autocast around the losses; what a method or `flow` takes out of it stays float32.

    Casts are not kept: one made without gradients would serve where gradients are due in torch before 2.9.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _TYPES[precision], cache_enabled=False)


class LossScale:
    """What a loss is multiplied by so that its float16 gradients do not vanish (Micikevicius et al., 1710.03740).

    Halved where a gradient overflows, whose update is left out; doubled after `PATIENCE` good updates in a row.
    """

    START, LEAST, PATIENCE = 2.0**12, 2.0**-10, 2_000

    def __init__(self) -> None:
        self.factor, self._good = self.START, 0

    def judge(self, finite: bool) -> None:
        """After an update's gradients. Raises TrainingError where no scale helps."""
        self._good = self._good + 1 if finite else 0
        if not finite:
            self.factor /= 2
        elif self._good == self.PATIENCE:
            self.factor, self._good = 2 * self.factor, 0
        if self.factor < self.LEAST:
            raise TrainingError(
                "float16 gradients overflow whatever the loss is multiplied by; give train.precision=bf16 or fp32"
            )

    def state(self) -> dict[str, Tensor]:
        return {"factor": torch.tensor(self.factor), "good": torch.tensor(self._good)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.factor, self._good = float(state["factor"]), int(state["good"])
