import math

import pytest
import torch

from ardistill.evaluation.likelihood import negative_log_likelihood
from ardistill.protocols import Condition
from tests.evaluation.fakes import FakeTeacher

P_2V = torch.tensor([[0.5, 0.25, 0.25, 0, 0], [0.125, 0.125, 0.25, 0.5 - 1e-12, 1e-12]])


class Handmade(FakeTeacher):
    """Position l of class z draws from row (l + z) % 2."""

    def log_probs(self, condition, latents_BLC):
        tokens_BL = torch.cdist(latents_BLC, self.tokenizer.codebook).argmin(-1)
        self.seen_BL = tokens_BL
        rows_BL = (torch.arange(tokens_BL.shape[1]) + condition.require_labels().unsqueeze(1)) % 2
        return P_2V[rows_BL].log()


def test_known_answer():
    teacher = Handmade()
    tokens_BL = torch.tensor([[0, 2, 1, 0], [2, 0, 3, 1]])
    nats_B = negative_log_likelihood(teacher, Condition(torch.tensor([0, 1])), tokens_BL)
    assert teacher.seen_BL.equal(tokens_BL)
    halvings = [1 + 2 + 2 + 3, 2 + 1 + 1 + 2]
    assert nats_B.tolist() == pytest.approx([h * math.log(2) / 4 for h in halvings], rel=1e-6)


def test_a_filtered_token_counts_as_the_floor():
    tokens_BL = torch.tensor([[3, 4, 0, 3]])  # removed, 1e-12 (27.6 nats), 1/2, 1/2
    condition = Condition(torch.tensor([0]))
    log2 = math.log(2)
    for floor, improbable in ((20.0, 20.0), (30.0, 12 * math.log(10))):
        expected = (floor + improbable + 2 * log2) / 4
        given = negative_log_likelihood(Handmade(), condition, tokens_BL, floor)
        assert given.tolist() == pytest.approx([expected], rel=1e-6)
