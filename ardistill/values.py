"""The small frozen records that plugins and the core exchange. See `protocols` for the words and the shape legend.

B batch, L tokens, l tokens of one step, K steps, V codes, C code width, T caption positions, E caption feature width.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import attrs
import torch
from torch import Tensor, nn


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


class Features(Protocol):
    """Images -> features and class logits (`protocols.FeatureNetwork`)."""

    def __call__(self, images_BCHW: Tensor, /) -> tuple[Tensor, Tensor]: ...


class StudentReader(Protocol):
    """(a student offer's name, a file) -> that student of the run's teacher; the file is ours, or as published."""

    def __call__(self, offer: str, path: Path, /) -> nn.Module: ...


class TensorFunction(Protocol):
    def __call__(self, tensor: Tensor, /) -> Tensor: ...


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

    def map(self, function: TensorFunction) -> "Condition":
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


def _finite(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{field.name} must be a finite number, not {value}")


@attrs.frozen
class Guidance:
    """How a teacher's logits become the distribution it samples: guidance, then top-k, then top-p, then softmax.

    `scale` is in the teacher's own published convention (VAR: 0 is none, and it ramps over the scales; LlamaGen: 1 is
    none). `top_k` 0 and `top_p` 0 or 1 are off.
    """

    scale: float = attrs.field(default=0.0, validator=_finite)
    top_k: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    top_p: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    temperature: float = attrs.field(default=1.0, validator=[attrs.validators.gt(0), _finite])


@attrs.frozen(eq=False)
class Prediction:
    """A student's answer for all L tokens: latents to decode, and logits where the student has a softmax over codes.

    Where it has both, the `Jump`'s split says which is read; latents before the jump's start are the input's.
    """

    latents_BLC: Tensor
    logits_BLV: Tensor | None = None


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


@attrs.frozen
class StudentSpec:
    """How a student is rebuilt before its weights are loaded: its offer's name, and settings that JSON can hold."""

    offer: str
    settings: Mapping[str, object]


@attrs.frozen(eq=False)
class Role:
    """A network under training and how it is optimised. Learning rates rise linearly, then fall as a cosine.

    `warmup` counts images of the phase, `decay` is the share of `lr` left at its end (1 keeps it constant), and
    the EMA's schedule counts this role's own updates.
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


@attrs.frozen(eq=False)
class RunContext:
    """What a method may know of the run it serves."""

    seed: int
    folder: Path
    device: torch.device
    features: "Features | None" = None
    """The network that judges the run's data, where there is one: a perceptual distance for losses."""
    read_student: "StudentReader | None" = None
    """Reads weights that training may start from."""
