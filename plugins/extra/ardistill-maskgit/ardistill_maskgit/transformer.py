"""The masked transformer, and what its students have in common with it.

Tokens are in the order in which they are unmasked. The network reads codes, not their numbers, so that a student
reads latents through the same layers.

Legend: B batch, R rows of the network's batch, L tokens, N = 1 + L positions (the class, then the tokens), K steps,
V codes, C code width, D model width, H heads, d = D/H.
Source: MaskGIT (arXiv 2202.04200), section 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill.protocols import StepLayout
from ardistill_maskgit.config import MaskGITConfig


class Block(nn.Module):
    """Attention, then feed-forward, each after a norm and added to the stream."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_RND: Tensor, sees_NN: Tensor | None) -> Tensor:
        rows, length, _ = x_RND.shape
        qkv_RNd = self.qkv(self.before_attention(x_RND)).view(rows, length, 3, self.heads, -1)
        q_RHNd, k_RHNd, v_RHNd = qkv_RNd.permute(2, 0, 3, 1, 4)
        mixed_RHNd = F.scaled_dot_product_attention(q_RHNd, k_RHNd, v_RHNd, attn_mask=sees_NN)
        x_RND = x_RND + self.out(mixed_RHNd.transpose(1, 2).reshape(x_RND.shape))
        return x_RND + self.mlp(self.before_mlp(x_RND))  # type: ignore[no-any-return]


class Body(nn.Module):
    """Class, latents, places, blocks and final norm. Not used by itself."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.from_latent = nn.Sequential(
            nn.Linear(config.code_width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.from_class = nn.Embedding(config.n_classes + 1, width)
        self.place_LD = nn.Parameter(torch.zeros(config.n_tokens, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)

    def run(self, x_RLD: Tensor, labels_R: Tensor, sees_NN: Tensor | None = None) -> Tensor:
        """Embedded tokens and classes -> (R, L, D); positions see everything, or what `sees_NN` (bool) allows."""
        x_RND = torch.cat([self.from_class(labels_R).unsqueeze(1), x_RLD + self.place_LD], dim=1)
        for block in self.blocks:
            x_RND = block(x_RND, sees_NN)
        return self.norm(x_RND[:, 1:])  # type: ignore[no-any-return]


class MaskedBody(Body):
    """A body in which tokens may be unknown: a learned vector stands in their place."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__(config)
        self.mask_D = nn.Parameter(torch.zeros(config.width))

    def features(self, latents_RLC: Tensor, known_RL: Tensor, labels_R: Tensor) -> Tensor:
        """(R, L, D) of all positions, from the latents that are known (bool); one pass."""
        x_RLD = torch.where(known_RL.unsqueeze(-1), self.from_latent(latents_RLC), self.mask_D)
        return self.run(x_RLD, labels_R)

    def step_features(self, latents_BLC: Tensor, labels_B: Tensor, layout: StepLayout) -> Tensor:
        """(B, L, D): each token's feature in the pass that unmasks it, given the latents of earlier steps alone.

        The K passes are one batch of B K rows.
        """
        steps_L = layout.step_of_token().to(latents_BLC.device)
        known_KL = steps_L < torch.arange(layout.n_steps, device=steps_L.device).unsqueeze(1)
        features_RLD = self.features(
            latents_BLC.repeat_interleave(layout.n_steps, dim=0),
            known_KL.repeat(len(latents_BLC), 1),
            labels_B.repeat_interleave(layout.n_steps),
        )
        features_BKLD = features_RLD.view(len(latents_BLC), layout.n_steps, *features_RLD.shape[1:])
        return torch.cat([features_BKLD[:, k, layout.span(k)] for k in range(layout.n_steps)], dim=1)


class MaskGIT(MaskedBody):
    """The whole network: codes and classes to logits. It keeps the codes that it was trained with."""

    codes_VC: Tensor

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__(config)
        self.to_logits = nn.Linear(config.width, config.vocab)
        self.register_buffer("codes_VC", torch.zeros(config.vocab, config.code_width))

    def forward(self, latents_RLC: Tensor, known_RL: Tensor, labels_R: Tensor) -> Tensor:
        """(R, L, V) float32 logits of all positions."""
        return self.to_logits(self.features(latents_RLC, known_RL, labels_R)).float()  # type: ignore[no-any-return]

    def step_logits(self, latents_BLC: Tensor, labels_B: Tensor, layout: StepLayout) -> Tensor:
        """(B, L, V) float32 of every token in the pass that unmasks it."""
        return self.to_logits(self.step_features(latents_BLC, labels_B, layout)).float()  # type: ignore[no-any-return]


def initialised(config: MaskGITConfig, codes_VC: Tensor, seed: int) -> MaskGIT:
    """An untrained network; all tokens begin as likely."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MaskGIT(config)
        for table in (model.from_class.weight, model.place_LD, model.mask_D):
            nn.init.normal_(table, std=0.1)
    nn.init.zeros_(model.to_logits.weight)
    nn.init.zeros_(model.to_logits.bias)
    model.codes_VC.copy_(codes_VC)
    return model
