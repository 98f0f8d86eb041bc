"""DD1's student of VAR: all tokens in one pass, from noise or from a state whose first scales are data.

Legend: B batch, L tokens of all scales, S = 1 + L slots (the class, then the tokens), C code width, D model width,
V codes. Source: distilled_decoding VAR/models/dd.py:DD_Model (DD1, arXiv 2412.17153, section 3).
"""

from collections.abc import Mapping

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.protocols import Condition, Prediction, Schedule, StepLayout, StudentSpec
from ardistill.sampling import recipes
from ardistill.schedules import Jumps
from ardistill_var.blocks import modulate
from ardistill_var.config import VARConfig
from ardistill_var.dd1_initialise import initial_state
from ardistill_var.dd1_settings import VARDD1Record
from ardistill_var.structure import STRUCTURAL, itself_and_earlier_scales
from ardistill_var.transformer import VAR, VARWithHead


class ContinuousHead(nn.Module):
    """Features to vectors: a norm modulated by the raw class embedding plus a table (shift, scale), then a linear."""

    def __init__(self, config: VARConfig) -> None:
        super().__init__()
        self.eps = 1e-6  # upstream fixes it, whatever the blocks' is
        self.scale_shift_table = nn.Parameter(torch.zeros(2, config.model_width))
        self.linear = nn.Linear(config.model_width, config.code_width)

    def forward(self, h_BLD: Tensor, cond_BD: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, C)."""
        shift_B1D, scale_B1D = (cond_BD.unsqueeze(1) + self.scale_shift_table).unsqueeze(2).unbind(1)
        return self.linear(modulate(h_BLD, scale_B1D, shift_B1D, self.eps))  # type: ignore[no-any-return]


class VARDD1(VARWithHead):
    """VAR's network on a token's own noise or data (`ardistill.protocols.Student`), official state-dict keys.

    Slot 0 is the class; slot 1 + i reads the vector of token i itself and predicts token i. A slot sees the slots of
    earlier scales and itself, not its own scale's others. Whether a slot holds noise or data is told by an embedding
    of two rows, added to the input and, through a linear of each block's own, between attention and feed-forward and
    before the two heads. There is no guidance: the teacher's is in what the student has learned.

    The class slot counts as one step more, before the teacher's.
    """

    def __init__(self, config: VARConfig, jumps: Jumps) -> None:
        if config.step_sizes[0] != 1:
            raise ConfigError(
                f"a DD1 student needs a teacher whose first scale is one token, not {config.step_sizes[0]}"
            )
        super().__init__(config, (1, *config.step_sizes), itself_and_earlier_scales)
        width = config.model_width
        self.n_d_embed = nn.Embedding(2, width)  # noise, data
        self.layerwise_n_d_embed = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth + 1))
        self.final_layer_conti = ContinuousHead(config)
        self.record = VARDD1Record(
            network=config, starts=jumps.starts, split=jumps.split, recipes=jumps.recipes
        )
        self.layout = StepLayout(config.step_sizes)
        self.jumps = jumps.of(self.layout.n_steps, "scales")
        self.schedules: Mapping[str, Schedule] = recipes(jumps.recipes, self.jumps, self.layout)

    @classmethod
    def of(cls, model: VAR, seed: int, jumps: Jumps | None = None) -> "VARDD1":
        """An untrained student of a teacher's network, on its device: its weights, and fresh ones from `seed`."""
        state = initial_state(model, seed)
        with torch.device("meta"):
            student = cls(model.config, jumps or Jumps())
        missing, unexpected = student.load_state_dict(state, strict=False, assign=True)
        assert not unexpected
        assert all(key.rpartition(".")[2] in STRUCTURAL for key in missing)
        return student.to(model.pos_1LC.device)

    @property
    def spec(self) -> StudentSpec:
        """What rebuilds the student."""
        return StudentSpec("var-dd1", attrs.asdict(self.record))

    def forward(self, latents_BLC: Tensor, condition: Condition, start: int | Tensor = 0) -> Prediction:
        """Both heads' answers for every token: latents (B, L, C) and logits (B, L, V) float32.

        `start` counts the scales that are data: one number, or one per row as (B,) int64.
        """
        first_B1 = start[:, None] if isinstance(start, Tensor) else start
        data_BS = (self.lvl_1L <= first_B1).long()  # (1, S) where all rows start alike; the class is level 0
        cond_BD = self.class_emb(condition.require_labels())
        x_BSD = self.embed(latents_BLC, cond_BD, slice(0, len(self.sizes)))
        x_BSD = x_BSD + self.n_d_embed(data_BS)

        def told(layer: int) -> Tensor:
            """Noise or data, as this layer hears it. Two rows go through the linear, not every slot's."""
            rows_2D = self.layerwise_n_d_embed[layer](self.n_d_embed.weight)
            return F.embedding(data_BS, rows_2D)

        depth = self.config.depth
        x_BSD = self.run_blocks(x_BSD, cond_BD, self.attn_bias_for_masking, between=map(told, range(depth)))
        h_BLD = (x_BSD + told(depth))[:, 1:]
        return Prediction(self.final_layer_conti(h_BLD, cond_BD), self.logits(h_BLD, cond_BD))

    @torch.no_grad()
    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        """The latents before `start` pass through untouched; logits are the student's everywhere."""
        made = self(latents_BLC, condition, start)
        cut = self.layout.offset(start)
        latents_BLC = torch.cat([latents_BLC[:, :cut], made.latents_BLC[:, cut:]], dim=1)
        return Prediction(latents_BLC, made.logits_BLV)
