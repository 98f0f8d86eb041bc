"""VAR as a teacher.

Legend: B batch, L tokens of all scales, l tokens of a prefix, C code width, D model width, V codes.
"""

import torch
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.protocols import Condition, Guidance, Jumps, StepLayout
from ardistill_var.cursor import VARCursor
from ardistill_var.dd1 import VARDD1
from ardistill_var.filters import filtered_log_probs, guidance_ramp, guide
from ardistill_var.running import FrozenPath
from ardistill_var.scales import ScalePyramid
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR
from ardistill_var.trunk import VARPrefixTrunk


class VARTeacher(nn.Module):
    """A frozen VAR with its tokenizer and its sampler's settings (`ardistill.protocols.ARTeacher`).

    A step is a scale, but with panels the first scale takes several (`config.panel_steps`). `guidance.scale` is VAR's
    own: 0 is none, and step k of K is guided by scale * k / (K-1). The given modules become the teacher's: they are
    frozen in place.

    A prefix is continued in one of two ways. By default each of its steps sees itself and earlier ones, as when the
    teacher emits them: that is the distribution the teacher defines, and what `log_probs` gives. With `joint_prefix`
    the prefix and the step after it go through the network without a mask, so that early steps see later ones, and
    what they leave in the caches is used from then on: that is what the released DD1 sampler does (its
    VAR/models/var.py:intermediate_sample) and what the figures published for teacher steps in between stand for.
    Without a prefix they are the same.
    """

    def __init__(
        self,
        model: VAR,
        tokenizer: VARTokenizer,
        guidance: Guidance | None = None,
        *,
        joint_prefix: bool = False,
    ) -> None:
        super().__init__()
        for name, ours, theirs in (
            ("patch_nums", model.config.patch_nums, tokenizer.config.patch_nums),
            ("panels", model.config.panels, tokenizer.config.panels),
            ("vocab", model.config.vocab, tokenizer.config.vocab),
            ("code width", model.config.code_width, tokenizer.config.z_channels),
        ):
            if ours != theirs:
                raise ConfigError(
                    f"these VAR weights have {name} {ours} and their tokenizer's have {theirs}; "
                    "give the tokenizer the VAR was trained with as teacher.tokenizer.checkpoint"
                )
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.guidance = guidance or Guidance()
        self.joint_prefix = joint_prefix
        self.layout = StepLayout(model.config.step_sizes)
        self.n_classes = model.config.num_classes
        self.eval()

    @property
    def constants(self) -> dict[str, object]:
        """What no tensor of the model tells."""
        config = self.model.config
        return {"heads": config.n_heads, "norm_eps": config.norm_eps}

    def start(self, condition: Condition, prefix_tokens_Bl: Tensor | None = None) -> VARCursor:
        """A cursor after the given prefix (B, l), whose length must end a step."""
        labels_B = condition.require_labels()
        return VARCursor(
            self.model,
            self.tokenizer,
            self.guidance,
            labels_B,
            prefix_tokens_Bl,
            joint_prefix=self.joint_prefix,
        )

    def log_probs(self, condition: Condition, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, V) float32, guided and filtered step by step, in one masked pass."""
        logits_BLV = self.guided_logits(condition, latents_BLC)
        return filtered_log_probs(logits_BLV, self.guidance)

    def guided_logits(self, condition: Condition, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, V) float32 before the filters."""
        labels_B = condition.require_labels()
        inputs_BLC = self.tokenizer.quantize.inputs(latents_BLC)
        if not self.guidance.scale:
            return self.model(inputs_BLC, labels_B)  # type: ignore[no-any-return]
        null_B = torch.full_like(labels_B, self.n_classes)
        both_RLV = self.model(torch.cat([inputs_BLC, inputs_BLC]), torch.cat([labels_B, null_B]))
        cond_BLV, null_BLV = both_RLV.chunk(2)
        ramp = guidance_ramp(self.guidance.scale, self.layout.n_steps)
        t_L1 = cond_BLV.new_tensor(ramp)[self.model.lvl_1L[0], None]
        return guide(cond_BLV, null_BLV, t_L1)

    def trunk(self) -> VARPrefixTrunk:
        """A trainable copy of the network without its head, independent of the teacher's tensors."""
        quantizer, config = self.tokenizer.quantize, self.model.config
        path = FrozenPath(ScalePyramid(config.patch_nums, config.panels), quantizer.quant_resi)
        return VARPrefixTrunk.copy_of(self.model, path.to(self.tokenizer.codebook.device))

    def jumper(self, jumps: Jumps, seed: int) -> VARDD1:
        """DD1's student, untrained, on the teacher's device."""
        return VARDD1.of(self.model, seed, jumps)
