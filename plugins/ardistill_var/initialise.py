"""Initial weights of VAR, from a seed.

Source: VAR models/var.py:init_weights, with its released training settings (utils/arg_util.py).
"""

import math

import torch
from torch import Tensor, nn

from ardistill_var.transformer import VAR


@torch.no_grad()
def initialise(
    model: VAR, *, seed: int, adaln: float = 0.5, gamma: float = 1e-5, head: float = 0.02, std: float = 0.0
) -> None:
    """Draws all weights afresh from the seed.

    Linears and embeddings are normal with deviation `std` (0: 1/sqrt(3 D)), cut at 2 deviations, biases zero.
    The projections that end a residual branch are divided by sqrt(2 depth), so the stream keeps its size.
    `adaln` scales what makes scales and shifts, `gamma` what makes the residual gates, `head` the output.
    """
    width = model.config.model_width
    std = std or math.sqrt(1 / width / 3)
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter: Tensor, factor: float = 1.0) -> None:
        drawn = nn.init.trunc_normal_(
            torch.empty(parameter.shape), std=std, a=-2 * std, b=2 * std, generator=generator
        )
        parameter.copy_(drawn * factor)

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            normal(module.weight)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
    normal(model.pos_start)
    normal(model.pos_1LC)
    model.head.weight.mul_(head)
    for name, parameter in model.named_parameters():
        if name.endswith((".attn.proj.weight", ".ffn.fc2.weight")):
            parameter.div_(math.sqrt(2 * model.config.depth))
        elif name.endswith((".q_bias", ".v_bias")):
            parameter.zero_()
        elif name.endswith("scale_mul_1H11"):
            parameter.fill_(math.log(4.0))
        elif name.endswith("head_nm.ada_lin.1.weight"):
            parameter.mul_(adaln)
        elif name.endswith("ada_lin.1.weight"):  # per block or shared: two gates, then scales and shifts
            parameter[: 2 * width].mul_(gamma)
            parameter[2 * width :].mul_(adaln)
        elif name.endswith("ada_gss"):
            normal(parameter, 1 / (std * math.sqrt(width)))
            parameter[:, :, :2].mul_(gamma)
            parameter[:, :, 2:].mul_(adaln)
