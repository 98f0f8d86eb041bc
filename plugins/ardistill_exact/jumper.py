"""DD1's student of an exact teacher: its network on every token's own noise or data, with a head for either output.

Legend: B batch, L tokens, V codes, C code width, D width.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import cattrs
import torch
from torch import Tensor, nn

from ardistill.errors import PluginError
from ardistill.protocols import (
    ARTeacher,
    Condition,
    Jumps,
    Prediction,
    Schedule,
    StepLayout,
    StudentSpec,
)
from ardistill.sampling import recipes
from ardistill_exact.chain import Chain
from ardistill_exact.config import TrunkConfig
from ardistill_exact.trunk import ExactBody


@attrs.frozen(kw_only=True)
class ExactJumperRecord(Jumps):
    """What rebuilds a student."""

    network: TrunkConfig


class ExactJumper(ExactBody):
    """Causal, each token seeing its own latent (a `Jumper`); whether that is noise or data is told by an embedding."""

    def __init__(self, chain: Chain, config: TrunkConfig, jumps: Jumps) -> None:
        super().__init__(chain, config)
        self.noise_or_data = nn.Embedding(2, config.width)
        self.to_latent = nn.Linear(config.width, chain.codes_VC.shape[1])
        self.to_logits = nn.Linear(config.width, chain.n_codes)
        self.layout = StepLayout((1,) * chain.n_tokens)
        self.record = ExactJumperRecord(
            network=config, starts=jumps.starts, split=jumps.split, recipes=jumps.recipes
        )
        self.jumps = jumps.of(chain.n_tokens, "tokens")
        self.schedules: Mapping[str, Schedule] = recipes(jumps.recipes, self.jumps, self.layout)

    @property
    def spec(self) -> StudentSpec:
        """What rebuilds the student."""
        return StudentSpec("exact-dd1", attrs.asdict(self.record))

    def forward(self, latents_BLC: Tensor, condition: Condition, start: int | Tensor = 0) -> Prediction:
        """Both heads' answers for every token: latents (B, L, C) and logits (B, L, V)."""
        first_B1 = start[:, None] if isinstance(start, Tensor) else start
        data_BL = (torch.arange(self.layout.n_tokens, device=latents_BLC.device)[None] < first_B1).long()
        class_B1D = self.from_class(condition.require_labels()).unsqueeze(1)
        h_BLD = self.run(class_B1D + self.from_latent(latents_BLC) + self.noise_or_data(data_BL))
        return Prediction(self.to_latent(h_BLD), self.to_logits(h_BLD))

    @torch.no_grad()
    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        """The latents before `start` pass through untouched; logits are the student's everywhere."""
        made = self(latents_BLC, condition, start)
        return Prediction(
            torch.cat([latents_BLC[:, :start], made.latents_BLC[:, start:]], 1), made.logits_BLV
        )


def rebuild(settings: Mapping[str, Any], teacher: ARTeacher) -> ExactJumper:
    """A student of the given `ExactJumperRecord`, ready for its weights."""
    from ardistill_exact.teacher import ExactTeacher

    if not isinstance(teacher, ExactTeacher):
        raise PluginError("student=exact-dd1 was given another family's teacher; give an exact one")
    record = cattrs.structure(settings, ExactJumperRecord)
    return ExactJumper(teacher.chain, record.network, record)
