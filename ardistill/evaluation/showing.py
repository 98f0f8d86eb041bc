"""The images that are looked at: every generator with the same classes and, where it takes noise, the same noise.

Shape legend: N images, H W pixels.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ardistill.evaluation.drawing import REAL_SEED, Candidate
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Dataset

REAL = "real"
_STREAM = "eval/shown"
_MOST_COLUMNS = 10


def columns_of(n_classes: int) -> tuple[int, ...]:
    """The classes to show: all of them, or ten that lie evenly."""
    columns = min(_MOST_COLUMNS, n_classes)
    return tuple(column * n_classes // columns for column in range(columns))


@torch.no_grad()
def shown(
    candidates: Sequence[Candidate], teacher: ARTeacher, dataset: Dataset, *, lines: int, seed: int
) -> Mapping[str, Tensor]:
    """By name, "real" first where the data has images: (lines * columns, channels, H, W), line by line, on the CPU."""
    columns = columns_of(teacher.n_classes)
    device = teacher.tokenizer.codebook.device
    labels_N = torch.tensor(columns, device=device).repeat(lines)
    images: dict[str, Tensor] = {}
    if dataset.splits:
        draw = Draw(REAL_SEED, _STREAM, 0, len(labels_N), device)
        images[REAL] = dataset.images(dataset.splits[0], draw, labels_N)[0].cpu()
    draw = Draw(seed, _STREAM, 0, len(labels_N), device)
    for candidate in candidates:
        latents_NLC = candidate.generate(labels_N, draw)
        images[candidate.name] = teacher.tokenizer.decode(latents_NLC).cpu()
    return images
