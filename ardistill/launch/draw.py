"""Images from a student or a teacher, and the files they are kept in.

Shape legend: N images, B batch, H W pixels.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from ardistill.errors import ConfigError
from ardistill.evaluation.extraction import to_uint8
from ardistill.evaluation.timing.compiling import compiling, reason
from ardistill.files import write_atomic
from ardistill.forwards import packed, swapped
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, Progress, Student
from ardistill.sampling import generate, schedule, teacher_tokens

Drawing = Callable[[int, int], tuple[Tensor, Tensor]]
"""(first image, how many) -> images (B, 3, H, W) uint8 and labels (B,), on the CPU."""

_COLUMNS = 10
_ENLARGED = 48
"""Images smaller than this are enlarged by a whole number on a sheet."""


@attrs.frozen(eq=False)
class Subjects:
    """What images are to show, in turn: the rows of a condition; their numbers are the labels a file records."""

    condition: Condition
    numbers_n: Tensor

    @classmethod
    def classes(cls, teacher: ARTeacher, classes: tuple[int, ...]) -> "Subjects":
        """The given classes, or all of the teacher's."""
        if not teacher.n_classes:
            raise ConfigError("this teacher draws captions, not classes; give captions=PATH")
        wrong = [label for label in classes if not 0 <= label < teacher.n_classes]
        if wrong:
            raise ConfigError(
                f"classes={wrong[0]} is not a class of this teacher; expected 0..{teacher.n_classes - 1}"
            )
        labels_n = torch.tensor(classes or range(teacher.n_classes), device=teacher.tokenizer.codebook.device)
        return cls(Condition(labels_n), labels_n)

    @classmethod
    def captions(cls, teacher: ARTeacher, condition: Condition) -> "Subjects":
        """Every caption of the condition."""
        if teacher.n_classes:
            raise ConfigError(
                "this teacher draws classes, not captions; give classes=... instead of captions="
            )
        device = teacher.tokenizer.codebook.device
        return cls(condition.to(device), torch.arange(len(condition), device=device))


@torch.no_grad()
def draw_images(
    teacher: ARTeacher,
    student: Student | None,
    subjects: Subjects,
    *,
    n: int,
    steps: str,
    seed: int,
    batch: int,
    progress: Progress,
    compile: bool = False,  # noqa: A002
) -> tuple[Tensor, Tensor]:
    """Images (N, 3, H, W) uint8 and labels (N,); image i depends on (seed, i) and its subject alone.

    Without a student the teacher draws, in all its steps. With `compile` the networks go through torch.compile, and
    every batch is a whole one, so that nothing is compiled for what is left at the end. Raises ConfigError where
    torch.compile fails.
    """
    plan = None if student is None else schedule(steps, student, teacher.layout)
    device, batch = teacher.tokenizer.codebook.device, min(batch, n)

    def drawn(start: int, count: int) -> tuple[Tensor, Tensor]:
        draw = Draw(seed, "sample", start, count, device)
        picks_B = draw.indices() % len(subjects.numbers_n)
        condition = subjects.condition.map(lambda tensor: tensor[picks_B])
        if student is None or plan is None:
            uniform_BL = draw.uniform("token", teacher.layout.n_tokens)
            latents_BLC = teacher.tokenizer.codebook[teacher_tokens(teacher, condition, uniform_BL)]
        else:
            latents_BLC = generate(plan, student, teacher, condition, draw)
        return to_uint8(teacher.tokenizer.decode(latents_BLC)).cpu(), subjects.numbers_n[picks_B].cpu()

    images, labels = [], []
    with packed(teacher, student), _compiled(drawn, device) if compile else nullcontext(drawn) as draws:
        for start in range(0, n, batch):
            count = min(batch, n - start)
            images_B3HW, labels_B = draws(start, batch if compile else count)
            images.append(images_B3HW[:count])
            labels.append(labels_B[:count])
            progress.advance(start + count, n, "images")
    return torch.cat(images), torch.cat(labels)


@contextmanager
def _compiled(drawn: Drawing, device: torch.device) -> Iterator[Drawing]:
    """Within, its networks are compiled; a single image is drawn to see which they are."""
    with compiling(device) as compiler, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about its own insides
        networks = compiler.forwards(lambda: drawn(0, 1))

        def call(start: int, count: int) -> tuple[Tensor, Tensor]:
            try:
                with swapped(networks):
                    return drawn(start, count)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # of torch.compile or of the compiler it needs: there are many kinds
                raise ConfigError(
                    f"torch.compile failed ({reason(error)}); leave compile=true out"
                ) from error

        yield call


def save_images(path: Path, images_NCHW: Tensor, labels_N: Tensor) -> None:
    """A sheet of all images (.png), or arrays in OpenAI's layout (.npz)."""
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(buffer, images_NCHW.permute(0, 2, 3, 1).numpy(), labels_N.numpy())
    else:
        scale = max(1, _ENLARGED // images_NCHW.shape[-1])
        large_NCHW = images_NCHW.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
        sheet_CHW = make_grid(large_NCHW, nrow=min(_COLUMNS, len(large_NCHW)), pad_value=255)
        Image.fromarray(sheet_CHW.permute(1, 2, 0).numpy()).save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())
