"""A trainable copy of VAR's network that reads latents: what students are built on.

Legend: B batch, L tokens of all steps, C code width, D model width.
"""

import torch
from torch import Tensor

from ardistill.protocols import Condition
from ardistill_var.config import VARConfig
from ardistill_var.running import FrozenPath
from ardistill_var.transformer import VAR, VARBody


class VARPrefixTrunk(VARBody):
    """VAR without its head, from latents: feature i depends on the latents of earlier steps and the class.

    The path from latents to the network's inputs (resizing, phi, running sum) is the tokenizer's: it passes
    gradients to the latents, but is not trained and is not in the state dict.
    """

    def __init__(self, config: VARConfig, path: FrozenPath) -> None:
        super().__init__(config)
        self.path = path
        self.width = config.model_width

    @classmethod
    def copy_of(cls, model: VAR, path: FrozenPath) -> "VARPrefixTrunk":
        """A trunk with the model's present weights, sharing none of its tensors; `path` becomes its own."""
        with torch.device("meta"):
            trunk = cls(model.config, path)
        state = {key: value for key, value in model.state_dict().items() if not key.startswith("head")}
        trunk.load_state_dict({key: value.clone() for key, value in state.items()}, assign=True)
        return trunk

    def forward(self, latents_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, C) -> (B, L, D)."""
        return self.hidden(self.path(latents_BLC), condition.require_labels())
