"""What trains: methods and their phases, the randomness they are given, and who is told how it goes."""

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor, nn

from ardistill.protocols.generating import Student
from ardistill.values import Role, StudentSpec


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
    def roles(self) -> Mapping[str, Role]:
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
