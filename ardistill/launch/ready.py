"""A student beside its teacher, ready to be asked for images: what notebooks and scripts hold in their hands.

Shape legend: N images, H W pixels, B batch, L tokens, C code width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, overload

import attrs
from PIL import Image
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.launch.draw import Subjects, draw_images
from ardistill.launch.exporting import export
from ardistill.protocols import ARTeacher, Condition, Prediction, Student
from ardistill.schedules import Jump, Schedule
from ardistill.wording import shown


class Silent:
    """A `Progress` that says nothing."""

    def advance(self, done: int, total: int, what: str) -> None: ...


@attrs.frozen(eq=False)
class ReadyStudent:
    """A `Student` that knows its teacher, whose tokenizer decodes what it draws."""

    network: Student
    teacher: ARTeacher

    @overload
    def sample(
        self,
        classes: Sequence[int] | int | None = ...,
        passes: int | str = ...,
        seed: int = ...,
        *,
        n: int | None = ...,
        batch: int = ...,
        pil: Literal[False] = ...,
    ) -> Tensor: ...

    @overload
    def sample(
        self,
        classes: Sequence[int] | int | None = ...,
        passes: int | str = ...,
        seed: int = ...,
        *,
        n: int | None = ...,
        batch: int = ...,
        pil: Literal[True],
    ) -> list[Image.Image]: ...

    def sample(
        self,
        classes: Sequence[int] | int | None = None,
        passes: int | str = 1,
        seed: int = 0,
        *,
        n: int | None = None,
        batch: int = 64,
        pil: bool = False,
    ) -> Tensor | list[Image.Image]:
        """Images (N, 3, H, W) uint8 on the CPU, or a list of PIL's.

        One image for each of `classes` (all of the teacher's without), or `n`, the classes in turn. `passes` is what
        `steps=` takes: a number, or a schedule's name. Image i depends on (seed, i) and its class alone. Raises
        ConfigError for classes and schedules that are not there.
        """
        chosen = (classes,) if isinstance(classes, int) else tuple(() if classes is None else classes)
        subjects = Subjects.classes(self.teacher, tuple(int(label) for label in chosen))
        count = len(subjects.numbers_n) if n is None else n
        if count < 1 or batch < 1:
            raise ConfigError(f"n and batch must be at least 1, not {shown(n)} and {shown(batch)}")
        images_N3HW, _ = draw_images(
            self.teacher,
            self.network,
            subjects,
            n=count,
            steps=str(passes),
            seed=seed,
            batch=batch,
            progress=Silent(),
        )
        if not pil:
            return images_N3HW
        return [Image.fromarray(image_3HW.permute(1, 2, 0).numpy()) for image_3HW in images_N3HW]

    def export(self, path: str | Path, passes: int | str = 1) -> Path:
        """The student and its decoder as one file that runs without ardistill: .pt2 of torch.export, or .onnx."""
        return export(self.network, self.teacher, Path(path), str(passes))

    # What a `Student` has.

    @property
    def jumps(self) -> tuple[Jump, ...]:
        return self.network.jumps

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        return self.network.schedules

    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        return self.network.jump(latents_BLC, condition, start)

    @property
    def module(self) -> nn.Module:
        """The network as torch knows it."""
        assert isinstance(self.network, nn.Module)
        return self.network
