"""VAR's transformer: next-scale prediction with class conditioning, official state-dict keys.

A step is what is emitted at once: a scale, but with panels the first scale takes several (`config.panel_steps`). The
transformer has a level a step. Legend: B batch, L tokens of all steps, n tokens of some, n_0 of the first, C code
width, D model width, V codes, K steps. Source: VAR models/var.py:VAR.
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from ardistill_var.blocks import AdaLNBeforeHead, AdaLNBlock, KeyValues
from ardistill_var.config import VARConfig
from ardistill_var.structure import Visibility, attention_bias, levels, own_and_earlier_scales, settled


class VARBody(nn.Module):
    """Everything up to the last block's output: what the teacher and a student's trunk have in common.

    Not used by itself; `VARWithHead` adds the head, `VARPrefixTrunk` the path from latents to inputs.
    `sizes` are the steps' tokens, by default those of the config; `visible` says what a token sees where many steps
    go through together.
    """

    lvl_1L: Tensor
    attn_bias_for_masking: Tensor

    def __init__(
        self,
        config: VARConfig,
        sizes: tuple[int, ...] = (),
        visible: Visibility = own_and_earlier_scales,
    ) -> None:
        super().__init__()
        self.config = config
        self.sizes = sizes or config.step_sizes
        width, sizes = config.model_width, self.sizes
        self.word_embed = nn.Linear(config.code_width, width)
        self.class_emb = nn.Embedding(config.num_classes + 1, width)  # the last row is the null class
        self.pos_start = nn.Parameter(torch.zeros(1, sizes[0], width))
        self.pos_1LC = nn.Parameter(torch.zeros(1, sum(sizes), width))
        self.lvl_embed = nn.Embedding(len(sizes), width)
        self.shared_ada_lin: nn.Module
        if config.shared_aln:
            self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        else:
            self.shared_ada_lin = nn.Identity()
        self.blocks = nn.ModuleList(AdaLNBlock(config) for _ in range(config.depth))

        level_L = levels(sizes)
        self.register_buffer("lvl_1L", settled(level_L[None]))
        self.register_buffer("attn_bias_for_masking", settled(attention_bias(visible(level_L))))

    def drop_labels(self, labels_B: Tensor, dropped_B: Tensor | None) -> Tensor:
        """The labels with the null class where `dropped_B` is true."""
        return labels_B if dropped_B is None else labels_B.masked_fill(dropped_B, self.config.num_classes)

    def embed(self, inputs_BnC: Tensor, cond_BD: Tensor, steps: slice) -> Tensor:
        """Embeds the given steps (a slice of 0..K): (B, n, D). Step 0 has no input, only the condition.

        inputs_BnC holds the inputs of those steps but step 0, concatenated.
        """
        begin, end = sum(self.sizes[: steps.start]), sum(self.sizes[: steps.stop])
        place_1nD = self.lvl_embed(self.lvl_1L[:, begin:end]) + self.pos_1LC[:, begin:end]
        parts = [] if steps.start else [cond_BD.unsqueeze(1) + self.pos_start]
        if inputs_BnC.shape[1]:
            parts.append(self.word_embed(inputs_BnC))
        return torch.cat(parts, dim=1).add(place_1nD)

    def run_blocks(
        self,
        x_BnD: Tensor,
        cond_BD: Tensor,
        mask: Tensor | None,
        caches: Iterable[KeyValues] | None = None,
        between: Iterable[Tensor] | None = None,
        modulations: Iterable[Tensor] | None = None,
    ) -> Tensor:
        """All blocks; each extends its cache and adds its `between` where there are any, one a block.

        `modulations` are those of `modulations(cond_BD)`, for who calls again and again.
        """
        cond = cond_BD if modulations is not None else self._projected(cond_BD)
        nothing = [None] * len(self.blocks)
        each = zip(self.blocks, caches or nothing, between or nothing, modulations or nothing, strict=True)
        for block, cache, between_BnD, six_B16D in each:
            x_BnD = block(x_BnD, cond, mask, cache, between_BnD, six_B16D)
        return x_BnD

    def modulations(self, cond_BD: Tensor) -> list[Tensor]:
        """(B, 1, 6, D) for each block: what the condition does to it, however many tokens follow."""
        cond = self._projected(cond_BD)
        return [cast(AdaLNBlock, block).modulations(cond) for block in self.blocks]

    def _projected(self, cond_BD: Tensor) -> Tensor:
        """What blocks take: (B, D) itself, or (B, 1, 6, D) with shared adaLN."""
        if not self.config.shared_aln:
            return cond_BD
        return self.shared_ada_lin(cond_BD).view(cond_BD.shape[0], 1, 6, -1)  # type: ignore[no-any-return]

    def hidden(self, inputs_BLC: Tensor, labels_B: Tensor) -> Tensor:
        """Teacher-forced pass: inputs (B, L - n_0, C) of the steps after the first -> (B, L, D).

        A token sees its own and all earlier steps' inputs, hence only earlier steps' tokens. The inputs of the first
        steps alone give those steps' features.
        """
        cond_BD = self.class_emb(labels_B)
        given = 1 + [0, *accumulate(self.sizes[1:])].index(inputs_BLC.shape[1])
        x_BLD = self.embed(inputs_BLC, cond_BD, slice(0, given))
        end = x_BLD.shape[1]
        return self.run_blocks(x_BLD, cond_BD, self.attn_bias_for_masking[..., :end, :end])


class VARWithHead(VARBody):
    """The body with the head over codes."""

    def __init__(
        self,
        config: VARConfig,
        sizes: tuple[int, ...] = (),
        visible: Visibility = own_and_earlier_scales,
    ) -> None:
        super().__init__(config, sizes, visible)
        self.head_nm = AdaLNBeforeHead(config)
        self.head = nn.Linear(config.model_width, config.vocab)

    def logits(self, h_BLD: Tensor, cond_BD: Tensor) -> Tensor:
        """Features of the last block -> (B, L, V) float32."""
        return self.head(self.head_nm(h_BLD.float(), cond_BD.float())).float()  # type: ignore[no-any-return]


class VAR(VARWithHead):
    """The whole network: inputs and labels to logits."""

    def forward(self, inputs_BLC: Tensor, labels_B: Tensor, dropped_B: Tensor | None = None) -> Tensor:
        """Teacher-forced logits (B, L, V) for inputs (B, L - n_0, C) and labels (B,).

        `dropped_B` (bool) says whose label becomes the null class, for training guidance; upstream draws it
        inside, even in eval mode, at the rate `config.class_drop`.
        """
        labels_B = self.drop_labels(labels_B, dropped_B)
        return self.logits(self.hidden(inputs_BLC, labels_B), self.class_emb(labels_B))
