"""The distances agree with brute force, vanish for equal distributions, and do not otherwise."""

import itertools

import pytest
import torch
from ardistill_exact.metrics import (
    coarse_cells,
    coarse_total_variation,
    energy_distance,
    sequence_index,
    total_variation,
)

from ardistill.noise import Draw


def normal(name: str, count: int, *shape: int) -> torch.Tensor:
    return Draw(0, "tests/metrics", 0, count).normal(name, *shape)


def test_sequence_index_enumerates():
    tokens_BL = torch.tensor(list(itertools.product(range(3), repeat=4)))
    assert torch.equal(sequence_index(tokens_BL, 3), torch.arange(81))


def test_total_variation_by_hand():
    """Class 0: histogram (1/2, 1/2) against (3/4, 1/4) is 1/4; class 1: exact."""
    tokens_BL = torch.tensor([[0], [1], [1], [1]])
    labels_B = torch.tensor([0, 0, 1, 1])
    log_joint_YS = torch.tensor([[0.75, 0.25], [0.0, 1.0]], dtype=torch.float64).log()
    assert total_variation(tokens_BL, labels_B, log_joint_YS, 2) == pytest.approx(0.125)


def test_energy_distance_against_brute_force():
    x_BLC, y_bLC = normal("x", 30, 2, 2), normal("y", 25, 2, 2) + 0.3

    def mean(pairs):
        distances = [float((a - b).norm()) for a, b in pairs]
        return sum(distances) / len(distances)

    expected = (
        2 * mean(itertools.product(x_BLC, y_bLC))
        - mean(itertools.permutations(x_BLC, 2))
        - mean(itertools.permutations(y_bLC, 2))
    )
    assert energy_distance(x_BLC, y_bLC) == pytest.approx(expected, abs=1e-5)


def test_energy_distance_does_not_depend_on_chunks(monkeypatch):
    x_BLC, y_bLC = normal("x", 100, 2, 2), normal("y", 70, 2, 2)
    whole = energy_distance(x_BLC, y_bLC)
    monkeypatch.setattr("ardistill_exact.metrics._ROWS_AT_ONCE", 7)
    assert energy_distance(x_BLC, y_bLC) == pytest.approx(whole, abs=1e-9)


def test_energy_distance_tells_equal_from_unequal():
    x_BLC, y_bLC = normal("x", 2_000, 2, 2), normal("y", 2_000, 2, 2)
    assert abs(energy_distance(x_BLC, y_bLC)) < 0.005
    assert energy_distance(x_BLC, 1.3 * y_bLC) > 0.02


def test_coarse_cells_cut_every_axis():
    latents_BLC = torch.tensor([[[-2.0, -2.0], [-2.0, 0.0], [0.0, -2.0], [2.0, 2.0]]])
    assert coarse_cells(latents_BLC, torch.tensor([-1.0, 1.0])).tolist() == [[0, 1, 3, 8]]


def test_coarse_total_variation():
    edges = torch.tensor([0.0])
    first_BLC, second_bLC = (
        torch.tensor([[[-1.0]], [[1.0]]]),
        torch.tensor([[[-1.0]], [[-1.0]], [[-1.0]], [[1.0]]]),
    )
    assert coarse_total_variation(first_BLC, first_BLC, edges) == 0
    assert coarse_total_variation(first_BLC, second_bLC, edges) == pytest.approx(0.25)
    assert coarse_total_variation(first_BLC, -torch.ones(3, 1, 1), edges) == pytest.approx(0.5)
