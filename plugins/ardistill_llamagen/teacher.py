"""LlamaGen as a teacher.

Legend: B batch, L tokens, l tokens of a prefix, C code width, D model width, V codes.
"""

from functools import cached_property

import torch
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.flow import nearest_code
from ardistill.protocols import Condition, Guidance, Jumps, StepLayout
from ardistill_llamagen.cursor import LlamaGenCursor
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_llamagen.embedding import LatentEmbedding
from ardistill_llamagen.filters import filtered_log_probs, guide, guided_tokens
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.transformer import GPT
from ardistill_llamagen.trunk import GPTPrefixTrunk


class LlamaGenTeacher(nn.Module):
    """A frozen LlamaGen with its tokenizer and its sampler's settings (`ardistill.protocols.ARTeacher`).

    `guidance.scale` is LlamaGen's own: null + scale (cond - null), and 1 or less is none. `cfg_interval` is upstream's
    (see `filters.guided_tokens`). The given modules become the teacher's: they are frozen in place.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: LlamaGenTokenizer,
        guidance: Guidance | None = None,
        cfg_interval: int = -1,
    ) -> None:
        super().__init__()
        for name, ours, theirs in (
            ("codes", model.config.vocab_size, tokenizer.config.codebook_size),
            ("numbers in a code", model.config.code_width, tokenizer.config.codebook_embed_dim),
            ("tokens in an image", model.config.block_size, tokenizer.n_tokens),
        ):
            if ours != theirs:
                raise ConfigError(
                    f"the teacher is made for {ours} {name}, and its tokenizer has {theirs}; give its own "
                    "with teacher.tokenizer.checkpoint=PATH, and teacher.block_size=N for another image size"
                )
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.guidance = guidance or Guidance()
        self.cfg_interval = cfg_interval
        self.layout = StepLayout((1,) * tokenizer.n_tokens)
        self.n_classes = model.config.num_classes if model.config.model_type == "c2i" else 0
        self.eval()

    @property
    def constants(self) -> dict[str, object]:
        """What no tensor of the model tells."""
        c = self.model.config
        told = {"heads": c.n_head, "norm_eps": c.norm_eps, "rope_base": c.rope_base}
        return {**told, "cfg_interval": self.cfg_interval}

    def start(self, condition: Condition, prefix_tokens_Bl: Tensor | None = None) -> LlamaGenCursor:
        """A cursor after the given prefix (B, l)."""
        return LlamaGenCursor(self.model, self.guidance, self.cfg_interval, condition, prefix_tokens_Bl)

    def log_probs(self, condition: Condition, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, V) float32, guided and filtered token by token, in one causal pass.

        The network knows tokens only, so latents stand for their nearest codes.
        """
        logits_BLV = self.guided_logits(condition, nearest_code(latents_BLC, self.tokenizer.codebook))
        return filtered_log_probs(logits_BLV, self.guidance)

    def guided_logits(self, condition: Condition, tokens_BL: Tensor) -> Tensor:
        """(B, L) -> (B, L, V) float32 before the filters."""
        cond_BLV: Tensor = self.model(tokens_BL, condition)
        n_guided = guided_tokens(self.guidance, self.cfg_interval, tokens_BL.shape[1])
        if not n_guided:
            return cond_BLV
        null_B = torch.ones(len(tokens_BL), dtype=torch.bool, device=tokens_BL.device)
        null_BlV = self.model(tokens_BL[:, :n_guided], condition, null_B)  # nobody asks it for the others
        guided_BlV = guide(cond_BLV[:, :n_guided], null_BlV, self.guidance.scale)
        return torch.cat([guided_BlV, cond_BLV[:, n_guided:]], dim=1)

    @cached_property
    def latent_embedding(self) -> LatentEmbedding:
        """The token table as a function of latents, fitted once; trunks begin with a copy. Not part of the state."""
        table_VD = self.model.tok_embeddings.weight
        return LatentEmbedding.fitted(self.tokenizer.codebook, table_VD).requires_grad_(False)

    def trunk(self) -> GPTPrefixTrunk:
        """A trainable copy of the network without its head, independent of the teacher's tensors."""
        return GPTPrefixTrunk.copy_of(self.model, self.latent_embedding)

    def jumper(self, jumps: Jumps, seed: int) -> LlamaGenDD1:
        """DD1's student, untrained, on the teacher's device. Raises ConfigError for a teacher of captions."""
        return LlamaGenDD1.of(self.model, seed, jumps)
