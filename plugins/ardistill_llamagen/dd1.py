"""DD1's student of LlamaGen: all tokens in one pass, from noise or from a state whose first tokens are data.

Legend: B batch, L tokens, N = 1 + L positions (the class, then the tokens), C code width, D model width, V codes.
Source: distilled_decoding LlamaGen/autoregressive/models/dd.py (DD1, arXiv 2412.17153, section 3).
"""

import math
from collections.abc import Mapping

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.protocols import Condition, Prediction, Schedule, StepLayout, StudentSpec
from ardistill.sampling import recipes
from ardistill.schedules import Jumps
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.dd1_settings import LlamaGenDD1Record
from ardistill_llamagen.transformer import GPT, GPTBody

_STD = 0.02  # of fresh weights, as in LlamaGen


class ContinuousHead(nn.Module):
    """Features to vectors: a LayerNorm modulated by the class embedding plus a table (shift, scale), then a linear."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.zeros(2, config.dim))
        self.linear = nn.Linear(config.dim, config.code_width)

    def forward(self, h_BLD: Tensor, cond_B1D: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, C)."""
        shift_B1D, scale_B1D = (cond_B1D + self.scale_shift_table).unsqueeze(2).unbind(1)
        normed_BLD = F.layer_norm(h_BLD, h_BLD.shape[-1:], eps=1e-6)
        return self.linear(torch.addcmul(shift_B1D, normed_BLD, scale_B1D + 1))  # type: ignore[no-any-return]


class LlamaGenDD1(GPTBody):
    """LlamaGen's network on a token's own noise or data (`ardistill.protocols.Student`), official state-dict keys.

    Position 0 is the class; position 1 + i reads the vector of token i itself, sees what is before it, and predicts
    token i. Whether a position holds noise or data is told by an embedding of two rows, added to the input. The vectors
    are read from the last block's output as it is, the logits from its norm. There is no guidance: the teacher's is in
    what the student has learned.
    """

    def __init__(self, config: GPTConfig, jumps: Jumps) -> None:
        if config.model_type != "c2i":
            raise ConfigError(
                "a DD1 student of LlamaGen is conditioned on classes; its teacher must be a c2i model"
            )
        super().__init__(config)
        self.tok_embeddings = nn.Linear(config.code_width, config.dim)
        self.n_d_embed = nn.Embedding(2, config.dim)  # noise, data
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.final_layer_conti = ContinuousHead(config)
        self.record = LlamaGenDD1Record(
            network=config, starts=jumps.starts, split=jumps.split, recipes=jumps.recipes
        )
        self.layout = StepLayout((1,) * config.block_size)
        self.jumps = jumps.of(config.block_size, "tokens")
        self.schedules: Mapping[str, Schedule] = recipes(jumps.recipes, self.jumps, self.layout)

    @classmethod
    def of(cls, model: GPT, seed: int, jumps: Jumps | None = None) -> "LlamaGenDD1":
        """An untrained student of a teacher's network, on its device: its weights, and fresh ones from `seed`."""
        with torch.device("meta"):
            student = cls(model.config, jumps or Jumps())
        student.load_state_dict(initial_state(model, seed), assign=True)
        return student.to(model.norm.weight.device)

    @property
    def spec(self) -> StudentSpec:
        """What rebuilds the student."""
        return StudentSpec("llamagen-dd1", attrs.asdict(self.record))

    def forward(self, latents_BLC: Tensor, condition: Condition, start: int | Tensor = 0) -> Prediction:
        """Both heads' answers for every token: latents (B, L, C) and logits (B, L, V) float32.

        `start` counts the tokens that are data: one number, or one per row as (B,) int64.
        """
        first_B1 = start[:, None] if isinstance(start, Tensor) else start
        places_1N = torch.arange(self.config.n_positions, device=latents_BLC.device)[None]
        data_BN = (
            places_1N <= first_B1
        ).long()  # (1, N) where all rows start alike; the class is always data
        cond_B1D = self.embed_condition(Condition(condition.require_labels()))
        x_BND = torch.cat([cond_B1D, self.tok_embeddings(latents_BLC)], dim=1) + self.n_d_embed(data_BN)
        h_BLD = self.run_blocks(x_BND)[:, 1:]
        return Prediction(self.final_layer_conti(h_BLD, cond_B1D), self.output(self.norm(h_BLD)).float())

    @torch.no_grad()
    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        """The latents before `start` pass through untouched; logits are the student's everywhere."""
        made = self(latents_BLC, condition, start)
        latents_BLC = torch.cat([latents_BLC[:, :start], made.latents_BLC[:, start:]], dim=1)
        return Prediction(latents_BLC, made.logits_BLV)


@torch.no_grad()
def initial_state(model: GPT, seed: int) -> dict[str, Tensor]:
    """The state dict of a DD1 student of `model` before training; nothing is shared with `model`.

    What reads and predicts vectors is drawn as LlamaGen draws its own layers: normal of deviation 0.02, biases zero.
    """
    dim, code_width, device = model.config.dim, model.config.code_width, model.norm.weight.device
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, std: float = _STD) -> Tensor:
        return (torch.randn(shape, generator=generator) * std).to(device)

    kept = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("tok_embeddings.")}
    return kept | {
        "tok_embeddings.weight": drawn(dim, code_width),
        "tok_embeddings.bias": torch.zeros(dim, device=device),
        "n_d_embed.weight": drawn(2, dim),
        "final_layer_conti.scale_shift_table": drawn(2, dim, std=1 / math.sqrt(dim)),
        "final_layer_conti.linear.weight": drawn(code_width, dim),
        "final_layer_conti.linear.bias": torch.zeros(code_width, device=device),
    }
