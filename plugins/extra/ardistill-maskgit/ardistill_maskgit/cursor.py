"""The teacher in the middle of unmasking a batch: one pass of the network a step.

Legend: B batch, R rows of the network's batch, L tokens, l tokens of one step or of a prefix, C code width, V codes.
"""

import torch
from torch import Tensor

from ardistill.protocols import Guidance, StepLayout
from ardistill_maskgit.sampling import guided
from ardistill_maskgit.transformer import MaskGIT


class MaskGITCursor:
    """Emits the layout's steps. The tokens of a step are independent of one another, given those before."""

    def __init__(
        self,
        model: MaskGIT,
        layout: StepLayout,
        guidance: Guidance,
        codes_VC: Tensor,
        labels_B: Tensor,
        prefix_tokens_Bl: Tensor | None,
    ) -> None:
        self._model, self._layout, self._guidance = model, layout, guidance
        self._codes_VC, self._labels_B = codes_VC, labels_B
        self._tokens_BL = labels_B.new_zeros(len(labels_B), layout.n_tokens)
        self._step = 0
        if prefix_tokens_Bl is not None:
            self._step = _steps_of(layout, prefix_tokens_Bl.shape[1])
            self._tokens_BL[:, : prefix_tokens_Bl.shape[1]] = prefix_tokens_Bl
        self._log_probs: Tensor | None = None

    @property
    def step(self) -> int:
        """The step about to be emitted."""
        return self._step

    def log_probs(self) -> Tensor:
        """(B, l, V) of the next step; asking again costs nothing."""
        if self._step == self._layout.n_steps:
            raise ValueError(f"all {self._step} steps are emitted")
        if self._log_probs is None:
            span = self._layout.span(self._step)
            latents_BLC = self._codes_VC[self._tokens_BL]
            known_L = torch.arange(self._layout.n_tokens, device=latents_BLC.device) < span.start

            def logits(latents_RLC: Tensor, labels_R: Tensor) -> Tensor:
                known_RL = known_L.expand(len(latents_RLC), -1)
                answer_RLV: Tensor = self._model(latents_RLC, known_RL, labels_R)
                return answer_RLV[:, span]

            null = self._model.config.n_classes
            self._log_probs = guided(logits, latents_BLC, self._labels_B, null, self._guidance)
        return self._log_probs

    def accept(self, tokens_Bl: Tensor) -> None:
        """Commits the step's tokens (B, l) and moves on."""
        if self._step == self._layout.n_steps:
            raise ValueError(f"all {self._step} steps are emitted")
        expected = (len(self._labels_B), self._layout.sizes[self._step])
        if tokens_Bl.shape != expected:
            raise ValueError(f"step {self._step} takes tokens {expected}, got {tuple(tokens_Bl.shape)}")
        self._tokens_BL[:, self._layout.span(self._step)] = tokens_Bl
        self._step += 1
        self._log_probs = None


def _steps_of(layout: StepLayout, length: int) -> int:
    """How many steps a prefix holds."""
    for step in range(layout.n_steps + 1):
        if layout.offset(step) == length:
            return step
    raise ValueError(
        f"a prefix of {length} tokens ends inside of a step; the steps' sizes are {layout.sizes}"
    )
