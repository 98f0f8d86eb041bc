"""The toy teacher's networks: positions hear an average of earlier steps' latents, and maybe their own.

Shape legend: B batch, L tokens, V codes, C code width, D width.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import cattrs
import torch
from torch import Tensor, nn

from ardistill.protocols import ARTeacher, Condition, Jumps, Prediction, Schedule, StepLayout, StudentSpec
from ardistill.sampling import recipes

OFFER = "toy"
"""What the spec of a `ToyJumper` calls it; no plugin registers it, and the kit knows it."""
_WIDTH = 16


@attrs.frozen
class ToySizes:
    """Tokens of each step, codes and their width, classes."""

    steps: tuple[int, ...]
    n_codes: int
    code_width: int
    n_classes: int


class _Body(nn.Module):
    """A class, a position and earlier steps' latents -> features."""

    earlier_LL: Tensor

    def __init__(self, sizes: ToySizes) -> None:
        super().__init__()
        self.layout = StepLayout(sizes.steps)
        self.from_class = nn.Embedding(sizes.n_classes, _WIDTH)
        self.position_LD = nn.Parameter(torch.randn(self.layout.n_tokens, _WIDTH))
        self.from_latent = nn.Sequential(nn.Linear(sizes.code_width, _WIDTH), nn.Tanh())
        self.mlp = nn.Sequential(nn.Linear(_WIDTH, 2 * _WIDTH), nn.GELU(), nn.Linear(2 * _WIDTH, _WIDTH))
        step_L = self.layout.step_of_token()
        earlier_LL = (step_L[:, None] > step_L[None]).float()
        shares_LL = earlier_LL / earlier_LL.sum(1, keepdim=True).clamp_min(1)
        self.register_buffer("earlier_LL", shares_LL, persistent=False)

    def body(self, latents_BLC: Tensor, condition: Condition, own_BLD: Tensor | float = 0.0) -> Tensor:
        """(B, L, D)."""
        class_B1D = self.from_class(condition.require_labels()).unsqueeze(1)
        heard_BLD = self.earlier_LL @ (self.from_latent(latents_BLC) * self.position_LD)
        features_BLD: Tensor = self.mlp(class_B1D + self.position_LD + heard_BLD + own_BLD)
        return features_BLD


class ToyTrunk(_Body):
    """A `Trunk`; its weights are drawn from `seed`."""

    def __init__(self, sizes: ToySizes, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(sizes)
        self.width = _WIDTH

    def forward(self, latents_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, C) -> (B, L, D)."""
        return self.body(latents_BLC, condition)


class ToyJumper(_Body):
    """A `Jumper`; its weights are drawn from `seed`."""

    def __init__(self, sizes: ToySizes, jumps: Jumps, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(sizes)
            self.from_own = nn.Linear(sizes.code_width, _WIDTH)
            self.noise_or_data = nn.Embedding(2, _WIDTH)
            self.to_latent = nn.Linear(_WIDTH, sizes.code_width)
            self.to_logits = nn.Linear(_WIDTH, sizes.n_codes)
        self.jumps = jumps.of(self.layout.n_steps, "steps")
        self.schedules: Mapping[str, Schedule] = recipes(jumps.recipes, self.jumps, self.layout)
        self.spec = StudentSpec(OFFER, {"jumps": attrs.asdict(jumps)})

    def forward(self, latents_BLC: Tensor, condition: Condition, start: int | Tensor = 0) -> Prediction:
        """Both heads' answers: latents (B, L, C) and logits (B, L, V)."""
        first_B1 = start[:, None] if isinstance(start, Tensor) else start
        step_1L = self.layout.step_of_token().to(latents_BLC.device)[None]
        told_BLD = self.noise_or_data((step_1L < first_B1).long())
        h_BLD = self.body(latents_BLC, condition, self.from_own(latents_BLC) + told_BLD)
        return Prediction(self.to_latent(h_BLD).float(), self.to_logits(h_BLD).float())

    @torch.no_grad()
    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        """The latents before `start` pass through."""
        made, cut = self(latents_BLC, condition, start), self.layout.offset(start)
        return Prediction(
            torch.cat([latents_BLC[:, :cut], made.latents_BLC[:, cut:]], dim=1), made.logits_BLV
        )


def rebuild(settings: Mapping[str, Any], teacher: ARTeacher) -> ToyJumper:
    """A student of a toy teacher, ready for its weights."""
    n_codes, width = teacher.tokenizer.codebook.shape
    sizes = ToySizes(teacher.layout.sizes, n_codes, width, teacher.n_classes)
    return ToyJumper(sizes, cattrs.structure(settings["jumps"], Jumps), seed=0)
