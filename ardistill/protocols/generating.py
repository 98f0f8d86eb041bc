"""What generates: tokenizers, teachers, students.

Shape legend: B batch, L tokens, l tokens of one step, V codes, C code width, D trunk width, H W pixels.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from ardistill.schedules import Jump, Jumps, Schedule
from ardistill.values import Condition, Guidance, Prediction, StepLayout, StudentSpec

WeightsFinder = Callable[[str], Path | None]
"""Name -> a bundled weights file, or None; names look like "var/teacher", "var/tokenizer", "features"."""


@runtime_checkable
class Tokenizer(Protocol):
    """Images in [-1, 1] <-> tokens. Decoding takes latents, so that a student may decode without snapping to codes."""

    @property
    def codebook(self) -> Tensor:
        """(V, C), the codes as the decoder expects them (normalised where the tokenizer normalises)."""
        ...

    @property
    def n_tokens(self) -> int: ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        ...

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) in [-1, 1] -> tokens (B, L) int64."""
        ...

    def decode(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> images (B, channels, H, W), clamped to [-1, 1]."""
        ...

    def to(self, device: torch.device | str) -> Self: ...


class Cursor(Protocol):
    """A teacher in the middle of emitting a batch."""

    @property
    def step(self) -> int:
        """The step about to be emitted, 0..K."""
        ...

    def log_probs(self) -> Tensor:
        """(B, l, V) float32 for the next step: guided, filtered (-inf where removed), normalised."""
        ...

    def accept(self, tokens_Bl: Tensor) -> None:
        """Commits the step's tokens and moves on."""
        ...


class Trunk(Protocol):
    """A trainable network that reads latents and gives one feature per token; an `nn.Module`."""

    width: int
    """D."""

    def __call__(self, latents_BLC: Tensor, condition: Condition) -> Tensor:
        """(B, L, C) -> (B, L, D), differentiable in the latents; a position sees the latents of earlier steps only."""
        ...


@runtime_checkable
class ARTeacher(Protocol):
    """A pre-trained autoregressive model, frozen."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def layout(self) -> StepLayout: ...

    @property
    def guidance(self) -> Guidance:
        """The sampler's settings; every method distils the distribution they define."""
        ...

    @property
    def n_classes(self) -> int:
        """Labels are 0..n_classes-1; 0 for a teacher that is conditioned on captions."""
        ...

    @property
    def constants(self) -> Mapping[str, object]:
        """What its distribution depends on and no weights, guidance or layout tell, as JSON has it."""
        ...

    def start(self, condition: Condition, prefix_tokens_Bl: Tensor | None = None) -> Cursor:
        """A cursor after the given prefix, whose length must end a step."""
        ...

    def log_probs(self, condition: Condition, latents_BLC: Tensor) -> Tensor:
        """(B, L, V) float32: the log-probabilities of every step given the latents of the earlier ones, in one pass.

        Guided and filtered like the cursor's. Latents of tokens are `codebook[tokens]`.
        """
        ...

    def trunk(self) -> nn.Module:
        """A trainable copy of the teacher's own network as a `Trunk`, independent of the teacher's tensors.

        For teachers that offer the alignment *prefix*.
        """
        ...

    def jumper(self, jumps: Jumps, seed: int) -> nn.Module:
        """An untrained `Jumper` of the teacher's own architecture: its weights, and fresh ones from `seed`.

        For teachers that offer the alignment *own*. Raises ConfigError where the jumps do not fit the teacher's steps.
        """
        ...

    def to(self, device: torch.device | str) -> Self: ...


@runtime_checkable
class Student(Protocol):
    """A generator of all tokens at once; an `nn.Module`."""

    jumps: tuple[Jump, ...]
    """The jumps it has learned, the one from pure noise first, in order of their starts."""

    schedules: Mapping[str, Schedule]
    """Other ways to sample that it was trained or published for, by what `steps=` calls them."""

    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        """From the state with `start` steps of data to the end; positions before `start` pass through untouched."""
        ...


@runtime_checkable
class Jumper(Student, Protocol):
    """A student of its teacher's own architecture, as DD1 trains it: a token sees its own noise or data as well."""

    @property
    def spec(self) -> StudentSpec:
        """What rebuilds it."""
        ...

    def __call__(self, latents_BLC: Tensor, condition: Condition, start: int | Tensor = 0) -> Prediction:
        """What every position predicts, from the states with `start` steps of data: one number, or (B,) int64.

        Differentiable. Latents (B, L, C) and logits (B, L, V) float32, both for all positions; those before `start`
        mean nothing.
        """
        ...
