"""LlamaGen's GPT: next-token prediction in raster order, official state-dict keys.

Legend: B batch, L tokens of an image, l of a prefix, n at hand, T positions of the condition, N = T + l, D model width,
V codes. Position T-1 predicts token 0, and the last token is an input to nobody.
Source: LlamaGen autoregressive/models/gpt.py:Transformer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ardistill.protocols import Condition
from ardistill_llamagen.blocks import Block, KeyValues, RMSNorm
from ardistill_llamagen.conditions import CaptionEmbedder, LabelEmbedder, attention_mask
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.rotary import Rotary


class GPTBody(nn.Module):
    """Condition, blocks and final norm: what the teacher and all students built on it have in common.

    Not used by itself; others add how tokens or latents enter and what is read from the output.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_embedding = (LabelEmbedder if config.model_type == "c2i" else CaptionEmbedder)(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.rotary = Rotary(config)

    def embed_condition(self, condition: Condition, dropped_B: Tensor | None = None) -> Tensor:
        """(B, T, D); `dropped_B` (bool) says whose condition becomes the null one."""
        return self.cls_embedding(condition, dropped_B)  # type: ignore[no-any-return]

    def run_blocks(
        self,
        x_BnD: Tensor,
        *,
        mask_BT: Tensor | None = None,
        begin: int = 0,
        caches: Sequence[KeyValues] | None = None,
    ) -> Tensor:
        """All blocks on positions begin..begin+n-1, each extending its cache where there is one; before the final norm.

        `mask_BT` is the caption's (True: a real word). `begin` > 0 needs caches that hold what is before.
        """
        end = begin + x_BnD.shape[1]
        mask = attention_mask(mask_BT, begin, end, x_BnD.device)
        rows = self.rotary.rows(begin, end)
        for i, block in enumerate(self.layers):
            x_BnD = block(x_BnD, rows, begin, mask, None if caches is None else caches[i])
        return x_BnD

    def new_caches(self) -> list[KeyValues]:
        """An empty cache for each block, as long as the longest sequence."""
        return [KeyValues(self.config.n_positions) for _ in self.layers]


class GPT(GPTBody):
    """The whole network: tokens and condition to logits."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)

    def logits(self, h_BnD: Tensor) -> Tensor:
        """Output of the last block -> (B, n, V) float32."""
        return self.output(self.norm(h_BnD)).float()  # type: ignore[no-any-return]

    def hidden(self, tokens_Bl: Tensor, condition: Condition, dropped_B: Tensor | None = None) -> Tensor:
        """Teacher-forced pass over the condition and l tokens: (B, N, D), before the final norm."""
        x_BND = torch.cat([self.embed_condition(condition, dropped_B), self.tok_embeddings(tokens_Bl)], dim=1)
        return self.run_blocks(x_BND, mask_BT=condition.mask_BT)

    def forward(self, tokens_BL: Tensor, condition: Condition, dropped_B: Tensor | None = None) -> Tensor:
        """Logits (B, L, V) of every token given the condition and the tokens before it.

        `dropped_B` (bool) says whose condition becomes the null one, for training guidance; upstream draws it inside.
        """
        h_BND = self.hidden(tokens_BL[:, :-1], condition, dropped_B)
        return self.logits(h_BND[:, self.config.cls_token_num - 1 :])
