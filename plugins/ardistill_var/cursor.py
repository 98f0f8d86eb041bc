"""VAR in the middle of generating: one step at a time, with a cache of keys and values.

A step is a scale, but with panels the first scale takes several (`config.panel_steps`).

Legend: B batch, R rows of the network's batch (B, or 2B with guidance: conditional rows, then null), n tokens
of one step, m inputs the network has not seen yet, l tokens of a prefix, C code width, D model width, V codes.
Source: VAR models/var.py:autoregressive_infer_cfg.
"""

import torch
from torch import Tensor

from ardistill.protocols import Guidance
from ardistill_var.blocks import KeyValues
from ardistill_var.filters import filtered_log_probs, guidance_ramp, guide
from ardistill_var.running import RunningMap
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR


class VARCursor:
    """Emits step after step; a step is computed when first asked for.

    A prefix goes through the network together with the step after it: each of its steps sees itself and earlier
    ones or, with `joint_prefix`, all of them and the step after it (see `VARTeacher`).
    """

    def __init__(
        self,
        model: VAR,
        tokenizer: VARTokenizer,
        guidance: Guidance,
        labels_B: Tensor,
        prefix_tokens_Bl: Tensor | None = None,
        *,
        joint_prefix: bool = False,
    ) -> None:
        self._model, self._tokenizer, self._guidance = model, tokenizer, guidance
        self._joint_prefix = joint_prefix
        self._sizes = model.config.step_sizes
        self._ramp = guidance_ramp(guidance.scale, len(self._sizes))
        labels_R = labels_B
        if guidance.scale:
            labels_R = torch.cat([labels_B, torch.full_like(labels_B, model.config.num_classes)])
        self._cond_RD = model.class_emb(labels_R)
        self._modulations = model.modulations(self._cond_RD)
        self._caches = [KeyValues(sum(self._sizes)) for _ in model.blocks]
        self._running = RunningMap(tokenizer.quantize.pyramid, tokenizer.quantize.quant_resi)
        self._cached = 0  # steps the caches hold
        self._log_probs: Tensor | None = None
        self._input_BmC = self._cond_RD.new_empty(len(labels_B), 0, model.config.code_width)
        if prefix_tokens_Bl is not None and prefix_tokens_Bl.shape[1]:
            self._replay(prefix_tokens_Bl)

    @property
    def step(self) -> int:
        """The step about to be emitted."""
        return self._running.step

    def log_probs(self) -> Tensor:
        """(B, n, V) of the next step; asking again costs nothing."""
        if self._log_probs is None:
            h_RnD = self._run()[:, -self._sizes[self.step] :]
            logits_RnV = self._model.logits(h_RnD, self._cond_RD)
            self._log_probs = filtered_log_probs(self._guided(logits_RnV), self._guidance)
        return self._log_probs

    def accept(self, tokens_Bl: Tensor) -> None:
        """Commits the step's tokens (B, n) and moves on."""
        self._commit(tokens_Bl.shape)
        self._advance(self._tokenizer.codebook[tokens_Bl])

    def accept_vectors(self, latents_BnC: Tensor) -> None:
        """Commits any vectors (B, n, C) as the step's, and moves on."""
        self._commit(latents_BnC.shape[:-1])
        self._advance(latents_BnC)

    def _commit(self, shape: torch.Size) -> None:
        expected = (len(self._input_BmC), self._sizes[self.step])
        if shape != expected:
            raise ValueError(f"scale {self.step} takes {expected} tokens, got {tuple(shape)}")
        self.log_probs()  # even where nobody asked, the step has to enter the caches
        self._log_probs = None

    def _advance(self, latents_BnC: Tensor) -> None:
        self._running.add(latents_BnC)
        if self.step < len(self._sizes):
            self._input_BmC = self._running.shown()

    def _replay(self, tokens_Bl: Tensor) -> None:
        inputs = [self._input_BmC]
        for tokens_Bn in torch.split(tokens_Bl, self._prefix_sizes(tokens_Bl.shape[1]), dim=1):
            self._advance(self._tokenizer.codebook[tokens_Bn])
            inputs.append(self._input_BmC)
        self._input_BmC = torch.cat(inputs, dim=1)

    def _prefix_sizes(self, length: int) -> list[int]:
        for count in range(1, len(self._sizes) + 1):
            if sum(self._sizes[:count]) == length:
                return list(self._sizes[:count])
        raise ValueError(
            f"a prefix of {length} tokens does not end a scale; scales have {self._sizes} tokens"
        )

    def _run(self) -> Tensor:
        """Features (R, all, D) of the next step, behind those of the steps that the caches do not hold yet."""
        steps = slice(self._cached, self.step + 1)
        mask = None
        if steps.stop - steps.start > 1 and not self._joint_prefix:
            end = sum(self._sizes[: steps.stop])
            mask = self._model.attn_bias_for_masking[..., :end, :end]
        guided = len(self._cond_RD) != len(self._input_BmC)
        inputs_RmC = torch.cat([self._input_BmC, self._input_BmC]) if guided else self._input_BmC
        x_RnD = self._model.embed(inputs_RmC, self._cond_RD, steps)
        self._cached = steps.stop
        return self._model.run_blocks(x_RnD, self._cond_RD, mask, self._caches, modulations=self._modulations)

    def _guided(self, logits_RnV: Tensor) -> Tensor:
        if not self._guidance.scale:
            return logits_RnV
        cond_BnV, null_BnV = logits_RnV.chunk(2)
        return guide(cond_BnV, null_BnV, self._ramp[self.step])
