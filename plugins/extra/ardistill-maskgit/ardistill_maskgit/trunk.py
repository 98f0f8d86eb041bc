"""A trainable copy of the network for students that see a prefix alone.

Legend: B batch, L tokens, C code width, D model width, K steps.
"""

import torch
from torch import Tensor

from ardistill.protocols import Condition, StepLayout
from ardistill_maskgit.config import MaskGITConfig
from ardistill_maskgit.transformer import MaskedBody, MaskGIT


class MaskGITTrunk(MaskedBody):
    """MaskGIT up to its final norm (`ardistill.protocols.Trunk`): what the teacher's own steps would see of latents.

    It begins exactly as the teacher, which costs K passes of the network, in one batch.
    """

    def __init__(self, config: MaskGITConfig, layout: StepLayout) -> None:
        super().__init__(config)
        self.layout, self.width = layout, config.width

    @classmethod
    def copy_of(cls, model: MaskGIT, layout: StepLayout) -> "MaskGITTrunk":
        """With the model's present weights, trainable, sharing none of its tensors."""
        with torch.device("meta"):
            trunk = cls(model.config, layout)
        trunk.load_state_dict(
            {key: model.state_dict()[key].clone() for key in trunk.state_dict()}, assign=True
        )
        return trunk.requires_grad_(True)

    def forward(self, latents_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, C) -> (B, L, D)."""
        return self.step_features(latents_BLC, condition.require_labels(), self.layout)
