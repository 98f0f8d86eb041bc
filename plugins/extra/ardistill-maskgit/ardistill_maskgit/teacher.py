"""MaskGIT as a teacher.

Legend: B batch, L tokens, l tokens of a prefix, C code width, V codes.
"""

from torch import Tensor, nn

from ardistill.errors import ConfigError, MisfitError
from ardistill.protocols import Condition, Guidance, Jumps, StepLayout
from ardistill_maskgit.cursor import MaskGITCursor
from ardistill_maskgit.dd1 import MaskGITDD1
from ardistill_maskgit.order import step_sizes
from ardistill_maskgit.ordered import OrderedTokenizer
from ardistill_maskgit.sampling import guided
from ardistill_maskgit.transformer import MaskGIT
from ardistill_maskgit.trunk import MaskGITTrunk

_SAME_CODES = 1e-5


class MaskGITTeacher(nn.Module):
    """A frozen MaskGIT with the tokenizer of its codes (`ardistill.protocols.ARTeacher`).

    It unmasks the tokens of its own fixed order in `steps` passes. Its tokenizer is the given one, renumbered, so that
    whoever works with the teacher sees that order only. The given modules become the teacher's: they are frozen in
    place. Raises MisfitError for a tokenizer of other codes.
    """

    def __init__(
        self, model: MaskGIT, tokenizer: nn.Module, steps: int, guidance: Guidance | None = None
    ) -> None:
        super().__init__()
        config = model.config
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = OrderedTokenizer(tokenizer, config.order).eval().requires_grad_(False)
        codes_VC = self.tokenizer.codebook
        if codes_VC.shape != model.codes_VC.shape or (codes_VC - model.codes_VC).abs().max() > _SAME_CODES:
            raise MisfitError(
                "the MaskGIT weights were trained on another tokenizer's codes; give the one they were trained with "
                "as teacher.tokenizer.checkpoint=PATH, or weights made for this one as teacher.checkpoint=PATH"
            )
        if steps > config.n_tokens:
            raise ConfigError(
                f"steps={steps} is more than the {config.n_tokens} tokens of an image; give at most as many"
            )
        self.layout = StepLayout(step_sizes(config.n_tokens, steps))
        self.guidance = guidance or Guidance()
        self.n_classes = config.n_classes
        self.eval()

    @property
    def constants(self) -> dict[str, object]:
        """What no tensor of the model tells."""
        return {"heads": self.model.config.heads}

    def start(self, condition: Condition, prefix_tokens_Bl: Tensor | None = None) -> MaskGITCursor:
        """A cursor after the given prefix (B, l), whose length must end a step."""
        return MaskGITCursor(
            self.model,
            self.layout,
            self.guidance,
            self.tokenizer.codebook,
            condition.require_labels(),
            prefix_tokens_Bl,
        )

    def log_probs(self, condition: Condition, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, V) float32, guided and filtered like the cursor's: K masked passes in one batch."""

        def logits(latents_RLC: Tensor, labels_R: Tensor) -> Tensor:
            return self.model.step_logits(latents_RLC, labels_R, self.layout)

        return guided(logits, latents_BLC, condition.require_labels(), self.n_classes, self.guidance)

    def trunk(self) -> MaskGITTrunk:
        """A trainable copy of the network without its head, independent of the teacher's tensors."""
        return MaskGITTrunk.copy_of(self.model, self.layout)

    def jumper(self, jumps: Jumps, seed: int) -> MaskGITDD1:
        """DD1's student, untrained, on the teacher's device."""
        return MaskGITDD1.of(self.model, self.layout, jumps, seed)
