"""A chain as an `ARTeacher`: one token a step, class labels, nothing approximate but its trunk.

Legend: B batch, L tokens, l tokens of a prefix, V codes, C code width, D trunk width.
"""

from functools import cached_property
from hashlib import blake2b
from typing import Self

import torch
from torch import Tensor

from ardistill.flow import nearest_code
from ardistill.protocols import Condition, Guidance, Jumps, StepLayout, WeightsFinder
from ardistill_exact.chain import Chain, dense_chain, sparse_chain
from ardistill_exact.config import DenseConfig, SparseConfig, TrunkConfig
from ardistill_exact.jumper import ExactJumper
from ardistill_exact.tokenizer import LatentTokenizer
from ardistill_exact.trunk import ExactTrunk, fitted_trunk


class ExactCursor:
    """The chain in the middle of emitting a batch."""

    def __init__(self, chain: Chain, labels_B: Tensor, prefix_tokens_Bl: Tensor) -> None:
        self._chain, self._labels_B, self._tokens_Bl = chain, labels_B, prefix_tokens_Bl

    @property
    def step(self) -> int:
        return self._tokens_Bl.shape[1]

    def log_probs(self) -> Tensor:
        """(B, 1, V) float32."""
        return self._chain.next_log_probs(self._labels_B, self._tokens_Bl).unsqueeze(1)

    def accept(self, tokens_Bl: Tensor) -> None:
        if self.step == self._chain.n_tokens:
            raise ValueError("every step has been emitted already")
        self._tokens_Bl = torch.cat([self._tokens_Bl, tokens_Bl.view(-1, 1)], dim=1)


class ExactTeacher:
    """An `ARTeacher` whose distribution is `chain`, and whose sampler has nothing to set."""

    guidance = Guidance()

    def __init__(self, chain: Chain, trunk: TrunkConfig, seed: int) -> None:
        self.chain = chain
        self.tokenizer = LatentTokenizer(chain.codes_VC, chain.n_tokens)
        self.layout = StepLayout((1,) * chain.n_tokens)
        self.n_classes = chain.n_classes
        self._trunk_config, self._seed = trunk, seed

    @property
    def constants(self) -> dict[str, object]:
        """The tables, by their digest."""
        tables = b"".join(table.numpy().tobytes() for table in self.chain.tables)
        return {"tables": blake2b(tables, digest_size=16).hexdigest()}

    def start(self, condition: Condition, prefix_tokens_Bl: Tensor | None = None) -> ExactCursor:
        labels_B = condition.require_labels()
        if prefix_tokens_Bl is None:
            prefix_tokens_Bl = labels_B.new_zeros((len(labels_B), 0))
        return ExactCursor(self.chain, labels_B, prefix_tokens_Bl)

    def log_probs(self, condition: Condition, latents_BLC: Tensor) -> Tensor:
        """(B, L, V) float32; latents count as the codes nearest to them."""
        return self.chain.log_probs(condition.require_labels(), self.tokens(latents_BLC))

    def tokens(self, latents_BLC: Tensor) -> Tensor:
        """(B, L) int64: the nearest codes."""
        return nearest_code(latents_BLC, self.tokenizer.codebook)

    @cached_property
    def _fitted(self) -> ExactTrunk:
        """The network; fitted once, when first asked for."""
        return fitted_trunk(self.chain, self._trunk_config, self._seed)

    def trunk(self) -> ExactTrunk:
        """A copy of the fitted network."""
        with torch.random.fork_rng(devices=[]):
            copy = ExactTrunk(self.chain, self._trunk_config)
        copy.load_state_dict(self._fitted.state_dict())
        return copy.to(self.tokenizer.codebook.device)

    def jumper(self, jumps: Jumps, seed: int) -> ExactJumper:
        """The fitted network with heads and the embedding of noise or data drawn from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            student = ExactJumper(self.chain, self._trunk_config, jumps)
        student.load_state_dict(self._fitted.state_dict(), strict=False)
        return student.to(self.tokenizer.codebook.device)

    def to(self, device: torch.device | str) -> Self:
        self.tokenizer.to(device)
        return self


def sparse_teacher(config: SparseConfig, weights: WeightsFinder) -> ExactTeacher:
    """The target of `teacher=exact-sparse`; it needs no weights."""
    del weights
    chain = sparse_chain(config.seed, config.n_tokens, config.n_classes, config.sharpness)
    return ExactTeacher(chain, config.trunk, config.seed)


def dense_teacher(config: DenseConfig, weights: WeightsFinder) -> ExactTeacher:
    """The target of `teacher=exact-dense`; it needs no weights."""
    del weights
    return ExactTeacher(
        dense_chain(config.side, config.n_tokens, config.spread, config.turn), config.trunk, seed=0
    )
