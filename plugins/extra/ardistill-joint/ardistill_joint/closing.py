"""A small network that tells the last step's tokens once the others are drawn.

Shape legend: B batch, L tokens, K tokens of all steps but the last, M = L - K of the last, V codes, C code width,
D width, H heads, d = D / H.
"""

import attrs
import torch
import torch.nn.functional as F
from attrs.validators import ge
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.protocols import ARTeacher, Condition


@attrs.frozen
class ClosingSettings:
    """Its size. With `width` 0 there is none, and the student's network tells the last step too."""

    width: int = attrs.field(default=96, validator=ge(0))
    heads: int = attrs.field(default=12, validator=ge(1))


class Closing(nn.Module):
    """One transformer block from the class and the codes of earlier steps to log p of the last step's tokens.

    The tokens of one step do not depend on each other, so their positions attend to earlier steps alone. A network
    that reads noise has to work out in its layers what the earlier tokens are; this block is told. Where the teacher
    draws captions it has the codes alone.
    """

    def __init__(self, settings: ClosingSettings, teacher: ARTeacher, seed: int) -> None:
        super().__init__()
        width, layout, codes_VC = settings.width, teacher.layout, teacher.tokenizer.codebook
        if width % settings.heads:
            raise ConfigError(
                f"closing.width={width} is no multiple of closing.heads={settings.heads}; give one that is"
            )
        n_codes, code_width = codes_VC.shape
        self.heads, self.n_earlier = settings.heads, layout.offset(layout.n_steps - 1)
        self.label = nn.Embedding(teacher.n_classes, width) if teacher.n_classes else None
        self.position_LD = nn.Parameter(torch.empty(layout.n_tokens, width))
        self.code = nn.Linear(code_width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.logits = nn.Linear(width, n_codes)
        self._draw(torch.Generator().manual_seed(seed))
        self.to(codes_VC.device)

    @torch.no_grad()
    def _draw(self, generator: torch.Generator) -> None:
        """Weights of its seed; at first all tokens are equally likely."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(std=layer.in_features**-0.5, generator=generator)
                layer.bias.zero_()
        self.position_LD.normal_(std=0.3, generator=generator)
        if self.label is not None:
            self.label.weight.normal_(generator=generator)
        self.logits.weight.zero_()

    def forward(self, codes_BKC: Tensor, condition: Condition) -> Tensor:
        """(B, M, V) log-probabilities."""
        at_BLD = self.position_LD.expand(codes_BKC.shape[0], -1, -1)
        if self.label is not None:
            at_BLD = at_BLD + self.label(condition.require_labels())[:, None]
        x_BMD, y_BKD = at_BLD[:, self.n_earlier :], self.code(codes_BKC) + at_BLD[:, : self.n_earlier]
        for_query, for_keys, for_feed, for_logits = self.norms
        q_BHMd = self._per_head(self.query(for_query(x_BMD)))
        k_BHKd, v_BHKd = map(self._per_head, self.key_value(for_keys(y_BKD)).chunk(2, dim=-1))
        mixed_BMD = F.scaled_dot_product_attention(q_BHMd, k_BHKd, v_BHKd).transpose(1, 2).flatten(2)
        x_BMD = x_BMD + self.mix(mixed_BMD)
        x_BMD = x_BMD + self.feed(for_feed(x_BMD))
        return self.logits(for_logits(x_BMD)).float().log_softmax(-1)  # type: ignore[no-any-return]

    def _per_head(self, x_BnD: Tensor) -> Tensor:
        """(B, H, n, d)."""
        batch, n, width = x_BnD.shape
        return x_BnD.view(batch, n, self.heads, width // self.heads).transpose(1, 2)
