"""The exact teachers' network: a small causal transformer, fitted to conditionals that are known.

The tables need no network, but students start from one, as a real teacher's trunk comes trained.

Legend: B batch, L tokens, V codes, C code width, D trunk width, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ardistill.noise import Draw
from ardistill.protocols import Condition
from ardistill_exact.chain import Chain
from ardistill_exact.config import TrunkConfig

_FIT_BATCH = 256
_FIT_LR = 3e-3


class _Block(nn.Module):
    """Pre-norm causal attention and MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_BLD: Tensor) -> Tensor:
        batch, length, _ = x_BLD.shape
        qkv = self.qkv(self.before_attention(x_BLD)).view(batch, length, 3, self.heads, -1)
        q_BHLd, k_BHLd, v_BHLd = qkv.permute(2, 0, 3, 1, 4)
        mixed_BHLd = F.scaled_dot_product_attention(q_BHLd, k_BHLd, v_BHLd, is_causal=True)
        x_BLD = x_BLD + self.out(mixed_BHLd.transpose(1, 2).reshape(x_BLD.shape))
        fed_BLD: Tensor = self.mlp(self.before_mlp(x_BLD))
        return x_BLD + fed_BLD


class ExactBody(nn.Module):
    """What a teacher's trunk and its DD1 student have in common; not used by itself."""

    def __init__(self, chain: Chain, config: TrunkConfig) -> None:
        super().__init__()
        width = self.width = config.width
        self.from_class = nn.Embedding(chain.n_classes, width)
        self.from_latent = nn.Linear(chain.codes_VC.shape[1], width)
        self.position_LD = nn.Parameter(0.5 * torch.randn(chain.n_tokens, width))
        self.blocks = nn.ModuleList(_Block(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)

    def run(self, x_BLD: Tensor) -> Tensor:
        """Embedded tokens -> features (B, L, D)."""
        x_BLD = x_BLD + self.position_LD
        for block in self.blocks:
            x_BLD = block(x_BLD)
        features_BLD: Tensor = self.norm(x_BLD)
        return features_BLD


class ExactTrunk(ExactBody):
    """Latents and class -> one feature a token (a `Trunk`).

    The class takes the place before the first token, and the last latent is never read.
    """

    def forward(self, latents_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, C) -> (B, L, D)."""
        class_B1D = self.from_class(condition.require_labels()).unsqueeze(1)
        return self.run(torch.cat([class_B1D, self.from_latent(latents_BLC[:, :-1])], dim=1))


def fitted_trunk(chain: Chain, config: TrunkConfig, seed: int) -> ExactTrunk:
    """A trunk that, with a linear read-out (dropped here), predicts the chain's conditionals.

    Minimises the cross-entropy with the exact distributions on sequences drawn from the chain.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = ExactTrunk(chain, config)
        read_out = nn.Linear(config.width, chain.n_codes)
    parameters = [*trunk.parameters(), *read_out.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=_FIT_LR, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, config.fit_updates))
    for update in range(config.fit_updates):
        draw = Draw(seed, "exact/trunk", update * _FIT_BATCH, _FIT_BATCH)
        labels_B = draw.integers("label", chain.n_classes)
        tokens_BL = chain.sample(labels_B, draw.uniform("token", chain.n_tokens))
        logits_BLV = read_out(trunk(chain.codes_VC[tokens_BL], Condition(labels_B)))
        target_BLV = chain.log_probs(labels_B, tokens_BL).exp()
        loss = F.cross_entropy(logits_BLV.flatten(0, 1), target_BLV.flatten(0, 1))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return trunk
