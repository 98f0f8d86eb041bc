"""Distances between a student's samples and a known joint distribution.

Legend: B samples of the first set, b of the second, L tokens, C code width, V codes, Y classes, S sequences,
D = L*C.
"""

import torch
from torch import Tensor

_ROWS_AT_ONCE = 1024


def sequence_index(tokens_BL: Tensor, n_codes: int) -> Tensor:
    """(B,) int64: a sequence's place in a joint table, the last token varying fastest."""
    index_B = torch.zeros_like(tokens_BL[:, 0])
    for token_B in tokens_BL.unbind(1):
        index_B = index_B * n_codes + token_B
    return index_B


def total_variation(tokens_BL: Tensor, labels_B: Tensor, log_joint_YS: Tensor, n_codes: int) -> float:
    """Half the L1 distance between the samples' histogram and the joint, averaged over classes; in [0, 1].

    A finite sample of the joint itself has a distance too: measure that floor with as many samples.
    """
    distances = []
    for label, log_joint_S in enumerate(log_joint_YS):
        index_B = sequence_index(tokens_BL[labels_B == label], n_codes)
        counts_S = torch.bincount(index_B, minlength=len(log_joint_S)).double()
        distances.append(0.5 * (counts_S / counts_S.sum() - log_joint_S.exp()).abs().sum())
    return float(torch.stack(distances).mean())


def coarse_cells(latents_BLC: Tensor, edges: Tensor) -> Tensor:
    """(B, L) int64: the cell of a product grid each latent falls in; `edges` cut every axis alike."""
    cells_BLC = torch.bucketize(latents_BLC.contiguous(), edges.to(latents_BLC))
    index_BL = torch.zeros_like(cells_BLC[..., 0])
    for axis_BL in cells_BLC.unbind(-1):
        index_BL = index_BL * (len(edges) + 1) + axis_BL
    return index_BL


def coarse_total_variation(first_BLC: Tensor, second_bLC: Tensor, edges: Tensor) -> float:
    """Total variation between two sets of samples on coarse cells of their whole latents; in [0, 1].

    Both sets are histograms, so equal distributions give a floor that shrinks with the number of samples.
    """
    n_cells = (len(edges) + 1) ** first_BLC.shape[-1]
    first_B, second_b = (sequence_index(coarse_cells(x, edges), n_cells) for x in (first_BLC, second_bLC))
    used, place = torch.unique(torch.cat([first_B, second_b]), return_inverse=True)
    first_counts = torch.bincount(place[: len(first_B)], minlength=len(used)).double() / len(first_B)
    second_counts = torch.bincount(place[len(first_B) :], minlength=len(used)).double() / len(second_b)
    return 0.5 * float((first_counts - second_counts).abs().sum())


def energy_distance(first_BLC: Tensor, second_bLC: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| over whole latents, as an unbiased U-statistic (Szekely, Rizzo 2013).

    Zero in expectation for equal distributions, so it can come out slightly negative.
    """
    x_BD, y_bD = first_BLC.flatten(1).double(), second_bLC.flatten(1).double()
    return 2 * _mean_distance(x_BD, y_bD) - _mean_distance(x_BD) - _mean_distance(y_bD)


def _mean_distance(x_BD: Tensor, y_bD: Tensor | None = None) -> float:
    """The mean Euclidean distance between the two sets' rows, or within one set between different rows."""
    other_bD = x_BD if y_bD is None else y_bD
    total = 0.0
    for start in range(0, len(x_BD), _ROWS_AT_ONCE):
        total += float(torch.cdist(x_BD[start : start + _ROWS_AT_ONCE], other_bD).sum())
    pairs = len(x_BD) * (len(other_bD) - (y_bD is None))
    return total / pairs
