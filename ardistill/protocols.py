"""What plugins promise one another; the small records they exchange are in `values` and can be had from here.

Shape legend: B batch, L tokens, l tokens of one step, K steps, V codes, C code width, D trunk width, H W pixels,
T caption positions, E caption feature width.

Vocabulary: an image is L *tokens*, numbered in the order of emission; a token is an index into the codebook, a *code*
is the vector it stands for; *latents* are (B, L, C) vectors: codes where data, noise where not yet generated. A *step*
is what the teacher emits at once. Time in the flow: t = 0 is data, t = 1 is noise, x_t = (1 - t) c + t eps.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from ardistill.records import Alignment
from ardistill.schedules import Jump, Jumps, Redraw, Schedule
from ardistill.values import (
    Condition,
    Guidance,
    Prediction,
    Role,
    RunContext,
    StepLayout,
    StudentSpec,
    Trajectory,
)

__all__ = [
    "ARTeacher",
    "Alignment",
    "Callback",
    "Condition",
    "Cursor",
    "Dataset",
    "DistillMethod",
    "Draw",
    "FeatureNetwork",
    "Guidance",
    "Jump",
    "Jumper",
    "Jumps",
    "Metric",
    "Phase",
    "Prediction",
    "Progress",
    "Redraw",
    "Role",
    "RunContext",
    "Schedule",
    "Split",
    "StepLayout",
    "Student",
    "StudentSpec",
    "Tokenizer",
    "Trajectory",
    "Trunk",
    "WeightsFinder",
]


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


class DistillMethod(Protocol):
    """A way to make a student of a teacher. The loop, the checkpoints and the precision belong to the core."""

    student_spec: StudentSpec
    modules: Mapping[str, nn.Module]
    """Everything that is trained or averaged; a checkpoint holds it whole."""

    def prepare(self, progress: "Progress") -> None:
        """Makes, or reads from the run folder, what the phases draw from (pairs, tuning samples). Repeatable."""
        ...

    def phases(self) -> "tuple[Phase, ...]":
        """The phases in order. Building them is cheap; a phase copies weights only when it `begin`s."""
        ...

    def student(self) -> Student:
        """The student as it stands: its averaged weights, ready to sample."""
        ...


class Phase(Protocol):
    """A stretch of training with one set of losses."""

    @property
    def name(self) -> str: ...

    @property
    def images(self) -> int:
        """How many images the phase takes in all, over every update of every role."""
        ...

    @property
    def batch(self) -> int:
        """Images an update takes."""
        ...

    @property
    def roles(self) -> "Mapping[str, Role]":
        """Who may be trained, by name."""
        ...

    @property
    def begin(self) -> Callable[[], None]:
        """Called once when training enters the phase, never when it resumes inside it."""
        ...

    def role(self, update: int) -> str:
        """Which role the phase's n-th update (from 0) trains."""
        ...

    @property
    def losses(self) -> "Callable[[str, Draw], Mapping[str, Tensor]]":
        """(role, draw) -> scalar terms whose sum is minimised, for the draw's images and from its randomness alone."""
        ...


class Draw(Protocol):
    """The randomness of a run of consecutive images: each image's numbers depend on its own index alone."""

    def __len__(self) -> int: ...

    @property
    def update(self) -> "Draw":
        """The draw of all images that one update takes, of which this one's are a share, or all.

        What is divided by more than the number of images, a sum of weights say, is divided by the update's.
        """
        ...

    def indices(self) -> Tensor:
        """(B,) int64: the images' own numbers; in training they count from the start of the phase."""
        ...

    def normal(self, name: str, *shape: int) -> Tensor:
        """(B, *shape) standard normal float32."""
        ...

    def uniform(self, name: str, *shape: int) -> Tensor:
        """(B, *shape) uniform in [0, 1)."""
        ...

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        """(B, *shape) int64, uniform in 0..high-1."""
        ...


class Progress(Protocol):
    """Where a long piece of work tells how far it is."""

    def advance(self, done: int, total: int, what: str) -> None: ...


WeightsFinder = Callable[[str], Path | None]
"""Name -> a bundled weights file, or None; names look like "var/teacher", "var/tokenizer", "features"."""


Split = Literal["train", "test"]


class Dataset(Protocol):
    """Real images with labels, to train tokenizers and teachers and to judge samples by."""

    name: str
    n_classes: int
    image_shape: tuple[int, int, int]
    features: str
    """The registered feature network that judges this data."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have images; none where only statistics of the data are known."""
        ...

    @property
    def sha256(self) -> str:
        """A digest of what the images are made of, so that a report can tell two references apart."""
        ...

    def images(self, split: Split, draw: "Draw", labels_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As many augmented images (B, channels, H, W) in [-1, 1] and labels (B,) as `draw` names.

        Of the given classes, one image each; without them, in the data's own proportions.
        """
        ...

    def folder(self, split: Split) -> Path | None:
        """The folder whose images are the split's, so that they are judged against as they lie there, each once.

        None where images are drawn without end, or there are none.
        """
        ...

    def weights(self, name: str) -> Path | None:
        """A weights file bundled with the data (a `WeightsFinder`)."""
        ...


class FeatureNetwork(Protocol):
    """Images -> features and class logits, for the distances between sets of images."""

    name: str
    n_features: int

    def __call__(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, H, W) in [-1, 1] -> features (B, F) and logits (B, classes), float32.

        The logits are (B, 0) where the network classifies nothing.
        """
        ...


class Metric(Protocol):
    """A figure of a set of images, which it is shown batch by batch."""

    def update(self, images_BCHW: Tensor, labels_B: Tensor, features_BF: Tensor) -> None:
        """Images (B, channels, H, W) in [-1, 1], the classes they were to show, and what the feature network saw.

        The features lie on the CPU, the others on the teacher's device.
        """
        ...

    def result(self) -> Mapping[str, float]:
        """The figures by their names, which head the columns of tables."""
        ...


class Callback(Protocol):
    """Told what happens in a run's training, in its first process. It changes nothing of what is learned.

    What it raises costs a warning, and it is told no more; training goes on.
    """

    def start(self, images: int) -> None:
        """Training begins, or goes on, after so many images."""
        ...

    def step(self, phase: str, images: int, losses: Mapping[str, Tensor]) -> None:
        """An update was made, the last before so many images of the whole run.

        Losses and the gradient's norm are 0-d tensors on the run's device: to read one waits for the device.
        """
        ...

    def evaluation(self, images: int, figures: Mapping[str, float]) -> None:
        """The averaged student was judged, while it trains (`eval.every`) or in the end."""
        ...

    def end(self, error: BaseException | None) -> None:
        """The run is over, with what ended it where it was not its own end."""
        ...
