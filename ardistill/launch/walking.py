"""Walks from one noise to another: what a student and its teacher make of the way, side by side.

Shape legend: P points of a walk, L tokens, C code width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ardistill.evaluation.drawing import Candidate
from ardistill.evaluation.page import Interpolation
from ardistill.evaluation.showing import columns_of
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher

_POINTS, _WALKS = 9, 3


def great_circle(begin_LC: Tensor, end_LC: Tensor, points: int) -> Tensor:
    """(P, L, C) from one standard normal noise to an independent one, standard normal all along.

    cos(a) begin + sin(a) end, a from 0 to a right angle: a straight line's middle would be too short.
    """
    angle_P11 = torch.linspace(0, math.pi / 2, points, device=begin_LC.device)[:, None, None]
    return angle_P11.cos() * begin_LC + angle_P11.sin() * end_LC


@torch.no_grad()
def walks(
    students: Sequence[Candidate], pair: Candidate | None, teacher: ARTeacher, seed: int
) -> tuple[Interpolation, ...]:
    """For a few classes, the first student that its noise alone decides, and the teacher's image of the same noise."""
    candidates = [each for each in students if each.from_noise is not None][:1]
    if not candidates:
        return ()
    if pair is not None:
        candidates.append(pair)
    shape = teacher.layout.n_tokens, teacher.tokenizer.codebook.shape[1]
    device = teacher.tokenizer.codebook.device
    classes = columns_of(teacher.n_classes)
    count = min(_WALKS, len(classes))
    made = []
    for walk in range(count):
        label = classes[walk * len(classes) // count]
        begin_LC, end_LC = Draw(seed, "eval/walk", 2 * walk, 2, device).normal("noise", *shape)
        noise_PLC = great_circle(begin_LC, end_LC, _POINTS)
        labels_P = torch.full((_POINTS,), label, device=device)
        for candidate in candidates:
            assert candidate.from_noise is not None
            images_PCHW = teacher.tokenizer.decode(candidate.from_noise(noise_PLC, labels_P)).cpu()
            made.append(Interpolation(candidate.name, images_PCHW, f"class {label}"))
    return tuple(made)
