"""The light head: a residual AdaLN-MLP on a token's noisy vector, its time and its feature (MAR's diffusion head).

Shape legend: N any leading shape (draws, batch, tokens), C code width, D trunk width, W head width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ardistill_dd2.config import HeadConfig

_FREQUENCIES = 128


def time_features(t_N: Tensor) -> Tensor:
    """(N, 256): cosines and sines of 1000 t at 128 geometric frequencies."""
    rates = torch.exp(torch.arange(_FREQUENCIES, device=t_N.device) * (-math.log(10_000.0) / _FREQUENCIES))
    angles = 1000.0 * t_N.unsqueeze(-1) * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class _Block(nn.Module):
    """x + gate * MLP((1 + scale) * norm(x) + shift); the gate starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 3 * width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x_NW: Tensor, context_NW: Tensor) -> Tensor:
        shift_NW, scale_NW, gate_NW = self.modulation(context_NW).chunk(3, dim=-1)
        y_NW = torch.addcmul(shift_NW, F.layer_norm(x_NW, x_NW.shape[-1:], eps=1e-6), 1 + scale_NW)
        return torch.addcmul(x_NW, gate_NW, self.outer(F.silu(self.inner(y_NW))))


class AdaLNHead(nn.Module):
    """(x_t, t, h) -> velocity (N, C). The output layer starts at zero, as AdaLN-zero has it."""

    def __init__(self, code_width: int, trunk_width: int, config: HeadConfig) -> None:
        super().__init__()
        width = config.width
        self.from_latent = nn.Linear(code_width, width)
        self.from_time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.from_feature = nn.Linear(trunk_width, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(config.blocks))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.to_velocity = nn.Linear(width, code_width)
        for layer in (self.final_modulation, self.to_velocity):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_NC: Tensor, t_N: Tensor, feature_ND: Tensor) -> Tensor:
        """`t_N` and `feature_ND` broadcast against `x_NC`: one time for all, one feature for all draws of a token."""
        feature_NW = self.from_feature(F.layer_norm(feature_ND, feature_ND.shape[-1:], eps=1e-6))
        context_NW = F.silu(self.from_time(time_features(t_N)) + feature_NW)
        y_NW = self.from_latent(x_NC)
        for block in self.blocks:
            y_NW = block(y_NW, context_NW)
        shift_NW, scale_NW = self.final_modulation(context_NW).chunk(2, dim=-1)
        y_NW = torch.addcmul(shift_NW, F.layer_norm(y_NW, y_NW.shape[-1:], eps=1e-6), 1 + scale_NW)
        velocity_NC: Tensor = self.to_velocity(y_NW)
        return velocity_NC
