"""DD1's student of MaskGIT: all tokens in one pass, from noise or from a state whose first steps are data.

Legend: B batch, L tokens, N = 1 + L positions (the class, then the tokens), C code width, D model width, V codes.
Source: DD1 (arXiv 2412.17153), section 3, whose teachers are VAR and LlamaGen.
"""

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor, nn

from ardistill.protocols import Condition, Prediction, Schedule, StepLayout, StudentSpec
from ardistill.sampling import recipes
from ardistill.schedules import Jumps
from ardistill_maskgit.config import MaskGITConfig
from ardistill_maskgit.settings import MaskGITDD1Record
from ardistill_maskgit.transformer import Body, MaskGIT


class MaskGITDD1(Body):
    """MaskGIT's network on every token's own noise or data (`ardistill.protocols.Jumper`); nothing is masked.

    A token sees the class, those of earlier steps, and itself, so that one pass gives all steps. Whether it holds
    noise or data is told by an embedding of two rows. There is no guidance: the teacher's is in what it has learned.
    """

    def __init__(self, config: MaskGITConfig, layout: StepLayout, jumps: Jumps) -> None:
        super().__init__(config)
        self.noise_or_data = nn.Embedding(2, config.width)
        self.to_latent = nn.Linear(config.width, config.code_width)
        self.to_logits = nn.Linear(config.width, config.vocab)
        self.layout = layout
        self.record = MaskGITDD1Record(
            network=config,
            sizes=layout.sizes,
            starts=jumps.starts,
            split=jumps.split,
            recipes=jumps.recipes,
        )
        self.jumps = jumps.of(layout.n_steps, "steps")
        self.schedules: Mapping[str, Schedule] = recipes(jumps.recipes, self.jumps, layout)

    @classmethod
    def of(cls, model: MaskGIT, layout: StepLayout, jumps: Jumps, seed: int) -> "MaskGITDD1":
        """The model's weights, on its device, and fresh ones from `seed` for what it does not have."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            student = cls(model.config, layout, jumps)
            nn.init.normal_(student.noise_or_data.weight, std=0.1)
        student.to(model.mask_D.device)
        own = student.state_dict()
        student.load_state_dict({**own, **{k: v for k, v in model.state_dict().items() if k in own}})
        return student

    @property
    def spec(self) -> StudentSpec:
        """What rebuilds the student."""
        return StudentSpec("maskgit-dd1", attrs.asdict(self.record))

    def forward(self, latents_BLC: Tensor, condition: Condition, start: int | Tensor = 0) -> Prediction:
        """Both heads' answers for every token: latents (B, L, C) and logits (B, L, V) float32.

        `start` counts the steps that are data: one number, or one per row as (B,) int64.
        """
        first_B1 = start[:, None] if isinstance(start, Tensor) else start
        steps_L = self.layout.step_of_token().to(latents_BLC.device)
        data_BL = (steps_L.unsqueeze(0) < first_B1).long()  # (1, L) where all rows start alike
        x_BLD = self.from_latent(latents_BLC) + self.noise_or_data(data_BL)
        h_BLD = self.run(x_BLD, condition.require_labels(), seen(steps_L))
        return Prediction(self.to_latent(h_BLD), self.to_logits(h_BLD).float())

    @torch.no_grad()
    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        """The latents before `start` pass through untouched; logits are the student's everywhere."""
        made, cut = self(latents_BLC, condition, start), self.layout.offset(start)
        return Prediction(
            torch.cat([latents_BLC[:, :cut], made.latents_BLC[:, cut:]], dim=1), made.logits_BLV
        )


def seen(steps_L: Tensor) -> Tensor:
    """(N, N) bool: whom each position sees: the class, tokens of earlier steps, itself."""
    steps_N = torch.cat([steps_L.new_full((1,), -1), steps_L])
    itself_NN = torch.eye(len(steps_N), dtype=torch.bool, device=steps_N.device)
    return (steps_N.unsqueeze(0) < steps_N.unsqueeze(1)) | itself_NN
