"""The network that DD2's three roles share: a trunk on the prefix and the light head (DD2, section 3.2.3, figure 7).

As the AR-diffusion model and the guidance network it reads a clean prefix; as the generator it reads noise.

Shape legend: B batch, L tokens, M draws, C code width, D trunk width.
"""

from collections.abc import Mapping
from typing import Any, cast

import cattrs
import torch
from torch import Tensor, nn

from ardistill.flow import mean_from_velocity
from ardistill.protocols import ARTeacher, Condition, Jump, Prediction, Schedule, Trunk
from ardistill_dd2.config import HeadConfig
from ardistill_dd2.head import AdaLNHead


class ARDiffusion(nn.Module):
    """f_i = trunk(latents before i), x0 = head(x_t, t, f_i). A `Student` through `jump`.

    All latents here are in units of `unit`; those that `jump` returns are the tokenizer's own.
    """

    jumps = (Jump(0),)
    schedules: Mapping[str, Schedule] = {}

    def __init__(self, trunk: nn.Module, head: AdaLNHead, start_time: float, unit: float = 1.0) -> None:
        super().__init__()
        self.trunk, self.head, self.start_time, self.unit = trunk, head, start_time, unit

    @classmethod
    def of(cls, teacher: ARTeacher, config: HeadConfig, seed: int) -> "ARDiffusion":
        """The teacher's own trunk with a fresh head, whose initial weights derive from `seed`."""
        trunk = teacher.trunk()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = AdaLNHead(teacher.tokenizer.codebook.shape[1], cast(Trunk, trunk).width, config)
        head.to(teacher.tokenizer.codebook.device)
        return cls(trunk, head, config.start_time, unit_of(teacher, config))

    def features(self, latents_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, D); position i depends on the latents of earlier steps and the condition alone."""
        features_BLD: Tensor = self.trunk(latents_BLC * self.unit, condition)
        return features_BLD

    def velocity(self, x_MBLC: Tensor, t_MBL: Tensor, features_BLD: Tensor) -> Tensor:
        """(M, B, L, C), from one evaluation of the trunk for all draws."""
        velocity_MBLC: Tensor = self.head(x_MBLC, t_MBL, features_BLD)
        return velocity_MBLC

    def generate(self, noise_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, C): x0 = x_t - t v at the start time, the trunk reading the noise itself (DD2, section 3.3)."""
        t_11 = noise_BLC.new_full(
            (1, 1), self.start_time
        )  # one time for all tokens, so its features are made once
        x_BLC = self.start_time * noise_BLC
        velocity_BLC = self.velocity(x_BLC, t_11, self.features(noise_BLC, condition))
        return mean_from_velocity(x_BLC, t_11, velocity_BLC)

    @torch.no_grad()
    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        if start != 0:
            raise ValueError(f"a DD2 generator starts from noise, not from step {start}")
        return Prediction(self.generate(latents_BLC, condition) * self.unit)


def unit_of(teacher: ARTeacher, config: HeadConfig) -> float:
    """What latents are measured in: the deviation of the codebook's numbers, or 1."""
    return float(teacher.tokenizer.codebook.std()) if config.unit_codes else 1.0


def rebuild(settings: Mapping[str, Any], teacher: ARTeacher) -> ARDiffusion:
    """A student of the given settings, ready for its weights."""
    return ARDiffusion.of(teacher, cattrs.structure(settings, HeadConfig), seed=0)
