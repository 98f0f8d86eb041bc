"""LlamaGen in the middle of generating: one token at a time, with a cache of keys and values.

Legend: B batch, R rows of the network's batch (B, or 2B while tokens are guided: conditional rows, then null), n
positions not yet run, l tokens of a prefix, D model width, V codes.
Source: LlamaGen autoregressive/models/generate.py:generate; DD LlamaGen's `intermediate_generate`.
"""

import torch
from torch import Tensor

from ardistill.protocols import Condition, Guidance
from ardistill_llamagen.filters import filtered_log_probs, guide, guided_tokens
from ardistill_llamagen.transformer import GPT


class LlamaGenCursor:
    """Emits token after token; the network runs when log-probabilities are asked for, over all that it has not seen.

    A prefix goes through it causally, together with the condition. Guidance counts tokens from the image's first, so
    it is over for a token beyond the interval whether or not the prefix made it so.
    """

    def __init__(
        self,
        model: GPT,
        guidance: Guidance,
        cfg_interval: int,
        condition: Condition,
        prefix_tokens_Bl: Tensor | None = None,
    ) -> None:
        self._model, self._guidance, self._batch = model, guidance, len(condition)
        self._n_tokens = model.config.block_size
        self._n_guided = guided_tokens(guidance, cfg_interval, self._n_tokens)
        self._step = 0 if prefix_tokens_Bl is None else prefix_tokens_Bl.shape[1]
        if self._step > self._n_tokens:
            raise ValueError(
                f"a prefix of {self._step} tokens is longer than an image, which has {self._n_tokens}"
            )
        self._caches = model.new_caches()
        self._seen = 0
        self._mask_RT = condition.mask_BT
        self._waiting_RnD = model.embed_condition(condition)
        if self._step < self._n_guided:
            null = torch.ones(self._batch, dtype=torch.bool, device=self._waiting_RnD.device)
            self._waiting_RnD = torch.cat([self._waiting_RnD, model.embed_condition(condition, null)])
            if self._mask_RT is not None:
                self._mask_RT = torch.cat([self._mask_RT, self._mask_RT])
        self._log_probs: Tensor | None = None
        if prefix_tokens_Bl is not None:
            self._append(prefix_tokens_Bl)

    @property
    def step(self) -> int:
        """The token about to be emitted."""
        return self._step

    def log_probs(self) -> Tensor:
        """(B, 1, V) of the next token; asking again costs nothing."""
        if self._step == self._n_tokens:
            raise ValueError(f"all {self._n_tokens} tokens are emitted")
        if self._log_probs is None:
            logits_R1V = self._model.logits(self._run()[:, -1:])
            if self._step < self._n_guided:
                cond_B1V, null_B1V = logits_R1V.chunk(2)
                logits_R1V = guide(cond_B1V, null_B1V, self._guidance.scale)
            self._log_probs = filtered_log_probs(logits_R1V, self._guidance)
        return self._log_probs

    def accept(self, tokens_Bl: Tensor) -> None:
        """Commits the token (B, 1) and moves on."""
        if self._step == self._n_tokens or tokens_Bl.shape != (self._batch, 1):
            raise ValueError(
                f"token {self._step} of {self._n_tokens} takes ({self._batch}, 1), got {tuple(tokens_Bl.shape)}"
            )
        self._step += 1
        self._append(tokens_Bl)
        self._log_probs = None

    def _append(self, tokens_Bl: Tensor) -> None:
        x_BlD = self._model.tok_embeddings(tokens_Bl)
        rows = len(self._waiting_RnD)
        x_RlD = x_BlD.repeat(rows // self._batch, 1, 1)
        self._waiting_RnD = torch.cat([self._waiting_RnD, x_RlD], dim=1)

    def _run(self) -> Tensor:
        """Runs what waits: (R, n, D). Once guidance is over, the null rows and their cache are left behind."""
        rows = self._batch * (2 if self._step < self._n_guided else 1)
        x_RnD = self._waiting_RnD[:rows]
        mask_RT = None if self._mask_RT is None else self._mask_RT[:rows]
        h_RnD = self._model.run_blocks(x_RnD, mask_BT=mask_RT, begin=self._seen, caches=self._caches)
        self._seen += x_RnD.shape[1]
        self._waiting_RnD = x_RnD[:, :0]
        return h_RnD
