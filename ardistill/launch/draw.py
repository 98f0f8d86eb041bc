"""Images from a trained student, and the files they are kept in.

Shape legend: N images, B batch, H W pixels.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from ardistill.errors import ConfigError
from ardistill.evaluation.fidelity import to_uint8
from ardistill.files import write_atomic
from ardistill.launch.trained import Trained
from ardistill.noise import Draw
from ardistill.protocols import Condition, Progress
from ardistill.sampling import generate, schedule

_COLUMNS = 10
_ENLARGED = 48
"""Images smaller than this are enlarged by a whole number on a sheet."""


@torch.no_grad()
def draw_images(
    trained: Trained,
    *,
    n: int,
    classes: tuple[int, ...],
    steps: str,
    seed: int,
    batch: int,
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """Images (N, 3, H, W) uint8 and labels (N,); image i depends on (seed, i) and its class alone."""
    teacher = trained.parts.teacher
    wrong = [label for label in classes if not 0 <= label < teacher.n_classes]
    if wrong:
        raise ConfigError(
            f"classes={wrong[0]} is not a class of this teacher; expected 0..{teacher.n_classes - 1}"
        )
    plan = schedule(steps, trained.student, teacher.layout)
    chosen_n = torch.tensor(classes or range(teacher.n_classes), device=trained.parts.device)
    images, labels = [], []
    for start in range(0, n, batch):
        draw = Draw(seed, "sample", start, min(batch, n - start), trained.parts.device)
        labels_B = chosen_n[draw.indices() % len(chosen_n)]
        latents_BLC = generate(plan, trained.student, teacher, Condition(labels_B), draw)
        images.append(to_uint8(teacher.tokenizer.decode(latents_BLC)).cpu())
        labels.append(labels_B.cpu())
        progress.advance(start + len(draw), n, "images")
    return torch.cat(images), torch.cat(labels)


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
