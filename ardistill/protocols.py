"""What plugins promise one another, and the small records they exchange.

Shape legend: B batch, L tokens, l tokens of one step, K steps, V codes, C code width, D trunk width, H W pixels,
T caption positions, E caption feature width.

Vocabulary: an image is L *tokens*, numbered in the order of emission; a token is an index into the codebook, a *code*
is the vector it stands for; *latents* are (B, L, C) vectors: codes where data, noise where not yet generated. A *step*
is what the teacher emits at once. Time in the flow: t = 0 is data, t = 1 is noise, x_t = (1 - t) c + t eps.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

import attrs
import torch
from torch import Tensor, nn

from ardistill.records import Alignment


@attrs.frozen
class StepLayout:
    """How L tokens fall into K steps: `sizes` are the steps' tokens, in order of emission.

    A teacher whose order is not its tokenizer's wraps the tokenizer, so that everything else sees emission order only.
    """

    sizes: tuple[int, ...] = attrs.field()

    @sizes.validator
    def _positive(self, _: object, sizes: tuple[int, ...]) -> None:
        if not sizes or min(sizes) < 1:
            raise ValueError(f"a layout needs at least one step of at least one token, not {sizes}")

    @property
    def n_steps(self) -> int:
        return len(self.sizes)

    @property
    def n_tokens(self) -> int:
        return sum(self.sizes)

    def offset(self, step: int) -> int:
        """Tokens emitted before `step` (0..K); the first `step` steps are `[:, :offset(step)]`."""
        if not 0 <= step <= self.n_steps:
            raise ValueError(f"step {step} is outside 0..{self.n_steps}")
        return sum(self.sizes[:step])

    def span(self, step: int) -> slice:
        """The positions that `step` (0..K-1) emits."""
        return slice(self.offset(step), self.offset(step + 1))

    def step_of_token(self) -> Tensor:
        """(L,) int64: the step that emits each token."""
        return torch.repeat_interleave(torch.arange(self.n_steps), torch.tensor(self.sizes))


@attrs.frozen(eq=False)
class Condition:
    """What a batch of images is to show: class labels, or caption features with their mask (True = a real word)."""

    labels_B: Tensor | None = None
    features_BTE: Tensor | None = None
    mask_BT: Tensor | None = None

    def __len__(self) -> int:
        for tensor in (self.labels_B, self.features_BTE):
            if tensor is not None:
                return tensor.shape[0]
        raise ValueError("a condition holds labels or caption features")

    def map(self, function: "TensorFunction") -> "Condition":
        """The same condition with `function` applied to every tensor it holds (slicing, moving, repeating)."""
        fields = (self.labels_B, self.features_BTE, self.mask_BT)
        return Condition(*(None if tensor is None else function(tensor) for tensor in fields))

    def __getitem__(self, rows: slice) -> "Condition":
        return self.map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> "Condition":
        return self.map(lambda tensor: tensor.to(device))

    def require_labels(self) -> Tensor:
        """The (B,) labels, for models that know classes only."""
        if self.labels_B is None:
            raise ValueError("this model is conditioned on class labels, and the condition holds none")
        return self.labels_B


class TensorFunction(Protocol):
    def __call__(self, tensor: Tensor, /) -> Tensor: ...


@attrs.frozen
class Guidance:
    """How a teacher's logits become the distribution it samples: guidance, then top-k, then top-p, then softmax.

    `scale` is in the teacher's own published convention (VAR: 0 is none, and it ramps over the scales; LlamaGen: 1 is
    none). `top_k` 0 and `top_p` 0 or 1 are off.
    """

    scale: float = 0.0
    top_k: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    top_p: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    temperature: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))


@attrs.frozen(eq=False)
class Prediction:
    """A student's answer for all L tokens: latents to decode, and logits where the student has a softmax over codes."""

    latents_BLC: Tensor
    logits_BLV: Tensor | None = None


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
        """(B, L, C) -> (B, L, D), differentiable in the latents. What a position sees is the trunk's `Alignment`."""
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

    def start(self, condition: Condition, prefix_tokens_Bl: Tensor | None = None) -> Cursor:
        """A cursor after the given prefix, whose length must end a step."""
        ...

    def log_probs(self, condition: Condition, latents_BLC: Tensor) -> Tensor:
        """(B, L, V) float32: the log-probabilities of every step given the latents of the earlier ones, in one pass.

        Guided and filtered like the cursor's. Latents of tokens are `codebook[tokens]`.
        """
        ...

    def trunk(self, alignment: Alignment) -> nn.Module:
        """A trainable copy of the teacher's own network as a `Trunk`, independent of the teacher's tensors."""
        ...

    def to(self, device: torch.device | str) -> Self: ...


@attrs.frozen(eq=False)
class Trajectory:
    """Noise and tokens that belong together, and the condition they answer to. A value, not a process."""

    condition: Condition
    noise_BLC: Tensor
    tokens_BL: Tensor
    layout: StepLayout

    def state(self, step: int, codebook_VC: Tensor) -> Tensor:
        """(B, L, C): the first `step` steps as data, the rest as noise (DD1, figure 5)."""
        cut = self.layout.offset(step)
        return torch.cat([codebook_VC[self.tokens_BL[:, :cut]], self.noise_BLC[:, cut:]], dim=1)


@runtime_checkable
class Student(Protocol):
    """A generator of all tokens at once; an `nn.Module`."""

    starts: tuple[int, ...]
    """The steps it has learned to jump from; 0 is pure noise."""

    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        """From the state with `start` steps of data to the end; positions before `start` pass through untouched."""
        ...


@attrs.frozen
class StudentSpec:
    """How a student is rebuilt before its weights are loaded: its offer's name, and settings that JSON can hold."""

    offer: str
    settings: Mapping[str, object]


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


@attrs.frozen(eq=False)
class Role:
    """A network under training and how it is optimised. Learning rates rise linearly, then fall as a cosine.

    `decay` is the share of `lr` left at the end of the phase (1 keeps it constant), `warmup` and the EMA's schedule
    count this role's own updates.
    """

    module: nn.Module
    lr: float
    warmup: int = 0
    lr_start: float = 0.0
    decay: float = 1.0
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    clip: float = 1.0
    average: nn.Module | None = None
    ema_cap: float = 0.9999


class Draw(Protocol):
    """The randomness of a run of consecutive images: each image's numbers depend on its own index alone."""

    def __len__(self) -> int: ...

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


@attrs.frozen(eq=False)
class RunContext:
    """What a method may know of the run it serves."""

    seed: int
    folder: Path
    device: torch.device


Split = Literal["train", "test"]


class Dataset(Protocol):
    """Real images with labels, to train tokenizers and teachers and to judge samples by."""

    name: str
    n_classes: int
    image_shape: tuple[int, int, int]
    features: str
    """The registered feature network that judges this data."""

    def images(self, split: Split, draw: "Draw") -> tuple[Tensor, Tensor]:
        """As many augmented images (B, channels, H, W) in [-1, 1] and labels (B,) as `draw` names."""
        ...

    def weights(self, name: str) -> Path | None:
        """A weights file bundled with the data (a `WeightsFinder`)."""
        ...


class FeatureNetwork(Protocol):
    """Images -> features and class logits, for the distances between sets of images."""

    name: str
    n_features: int

    def __call__(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, H, W) in [-1, 1] -> features (B, F) and logits (B, classes), float32."""
        ...
