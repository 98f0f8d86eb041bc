"""A trainable copy of LlamaGen's network that reads latents: what students are built on.

Legend: B batch, L tokens, T positions of the condition, N = T + L - 1, C code width, D model width.
"""

import copy

import torch
from torch import Tensor

from ardistill.protocols import Condition
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.embedding import LatentEmbedding
from ardistill_llamagen.transformer import GPT, GPTBody


class GPTPrefixTrunk(GPTBody):
    """LlamaGen up to its final norm, from latents: feature i depends on the condition and the latents before i.

    Latents enter through an MLP in place of the token table (DD2, appendix E.4).
    """

    def __init__(self, config: GPTConfig, latent_embedding: LatentEmbedding) -> None:
        super().__init__(config)
        self.latent_embedding = latent_embedding
        self.width = config.dim

    @classmethod
    def copy_of(cls, model: GPT, latent_embedding: LatentEmbedding) -> "GPTPrefixTrunk":
        """A trunk with the present weights of both, trainable, sharing none of their tensors."""
        own = copy.deepcopy(latent_embedding)
        with torch.device("meta"):
            trunk = cls(model.config, own)
        others = ("tok_embeddings.", "output.")
        state = {
            key: value.clone() for key, value in model.state_dict().items() if not key.startswith(others)
        }
        state |= {f"latent_embedding.{key}": value for key, value in own.state_dict().items()}
        trunk.load_state_dict(state, assign=True)
        return trunk.to(model.norm.weight.device).requires_grad_(True)

    def forward(self, latents_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, C) -> (B, L, D)."""
        x_BND = torch.cat(
            [self.embed_condition(condition), self.latent_embedding(latents_BLC[:, :-1])], dim=1
        )
        h_BND = self.run_blocks(x_BND, mask_BT=condition.mask_BT)
        return self.norm(h_BND[:, self.config.cls_token_num - 1 :])  # type: ignore[no-any-return]
