"""Distances that need no network: how often tokens and whole sequences occur."""

import numpy as np
import pytest
import torch
from ardistill_exact.chain import sparse_chain
from ardistill_exact.config import TrunkConfig
from ardistill_exact.metrics import total_variation
from ardistill_exact.teacher import ExactTeacher
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill.evaluation.histograms import MOST_SEQUENCES, Histograms, Joint
from ardistill.noise import Draw
from ardistill.protocols import Condition, StepLayout
from ardistill.sampling import teacher_tokens
from tests.evaluation.fakes import FakeTeacher, L, V, Z

TEACHER = FakeTeacher()


class Scales(FakeTeacher):
    layout = StepLayout((1, 3))


def histogram(teacher, tokens):
    made = Histograms.empty(teacher)
    for part in tokens.split(7):
        made.add(part)
    return made


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_steps_histogram_is_over_its_own_tokens(data):
    shape = data.draw(st.integers(1, 30)), L
    tokens = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(0, V - 1), min_size=L, max_size=L), min_size=shape[0]))
    )
    counts = histogram(Scales(), tokens).counts_KV.numpy()
    assert (counts[0] == np.bincount(tokens[:, 0], minlength=V)).all()
    assert (counts[1] == np.bincount(tokens[:, 1:].flatten(), minlength=V)).all()


def test_distance_is_the_mean_total_variation_of_the_steps():
    one = histogram(Scales(), torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1]]))
    other = histogram(Scales(), torch.tensor([[0, 1, 2, 2], [3, 2, 1, 1], [0, 1, 2, 2], [3, 2, 1, 1]]))
    assert one.distance(other) == pytest.approx((0.5 + 0.5) / 2)
    assert one.distance(one) == 0
    assert other.distance(one) == one.distance(other)


def test_the_joint_of_an_exact_teacher_is_its_table():
    chain = sparse_chain(0, 3, 2, 2.0)
    teacher = ExactTeacher(chain, TrunkConfig(), 0)
    joint = Joint.of(teacher)
    torch.testing.assert_close(joint.log_p_YS, chain.log_joint().double(), rtol=1e-5, atol=1e-5)
    labels = torch.arange(2000) % 2
    tokens = teacher_tokens(teacher, Condition(labels), Draw(0, "t", 0, 2000).uniform("x", 3))
    n_codes = len(teacher.tokenizer.codebook)
    assert joint.distance(tokens, labels) == pytest.approx(
        total_variation(tokens, labels, chain.log_joint(), n_codes), abs=1e-6
    )
    assert joint.distance(tokens.flip(1), labels) > joint.distance(tokens, labels) + 0.1


def test_the_joint_of_a_teacher_with_several_tokens_a_step():
    joint = Joint.of(TEACHER)
    assert joint.log_p_YS.exp().sum(1).tolist() == pytest.approx([1.0] * Z)
    first = TEACHER.log_p_ZLV[1, range(L), [1, 2, 0, 4]].double().sum()
    place = ((1 * V + 2) * V + 0) * V + 4
    assert joint.log_p_YS[1, place].item() == pytest.approx(first.item(), rel=1e-6)


def test_long_sequences_have_no_table():
    class Long(FakeTeacher):
        layout = StepLayout((1,) * 40)

    assert Z * V**40 > MOST_SEQUENCES
    assert Joint.of(Long()) is None
