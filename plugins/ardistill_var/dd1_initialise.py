"""A DD1 student's weights before training: its teacher's, and fresh ones where the teacher has none.

Legend: D model width, C code width. Sources: distilled_decoding VAR/models/dd.py:init_with_teacher and
VAR/models/var.py:init_weights, with its released training settings (utils/arg_util.py).
"""

import math

import torch
from torch import Tensor, nn

from ardistill_var.structure import STRUCTURAL
from ardistill_var.transformer import VAR


@torch.no_grad()
def initial_state(model: VAR, seed: int) -> dict[str, Tensor]:
    """The state dict of a DD1 student of `model` without its structural tensors; nothing is shared with `model`.

    The student has one level and one position more than the teacher, those of the first token's own slot: its
    class slot takes the teacher's first, the rest move up by one, and the gap is drawn. The released code draws the
    new row into the class table, over the embedding of class 1, and so leaves the level's row as it was; here it goes
    where it belongs.
    """
    width, code_width = model.config.model_width, model.config.code_width
    std = 1 / math.sqrt(3 * width)
    device, generator = model.pos_1LC.device, torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        """Normal, cut at two deviations."""
        empty = torch.empty(shape)
        return nn.init.trunc_normal_(empty, std=std, a=-2 * std, b=2 * std, generator=generator).to(device)

    state = {
        key: value.clone()
        for key, value in model.state_dict().items()
        if key.rpartition(".")[2] not in STRUCTURAL
    }
    for key, dim in (("lvl_embed.weight", 0), ("pos_1LC", 1)):
        first, rest = state[key].tensor_split([1], dim)
        state[key] = torch.cat([first, drawn(width).expand_as(first), rest], dim)
    state["n_d_embed.weight"] = drawn(2, width)
    for layer in range(model.config.depth + 1):
        state[f"layerwise_n_d_embed.{layer}.weight"] = drawn(width, width)
        state[f"layerwise_n_d_embed.{layer}.bias"] = torch.zeros(width, device=device)
    table_2D = torch.randn(2, width, generator=generator) / math.sqrt(width)
    state["final_layer_conti.scale_shift_table"] = table_2D.to(device)
    state["final_layer_conti.linear.weight"] = drawn(code_width, width)
    state["final_layer_conti.linear.bias"] = torch.zeros(code_width, device=device)
    return state
