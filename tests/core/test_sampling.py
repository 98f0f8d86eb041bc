"""Categorical draws, schedules, and the baseline of independent tokens."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ardistill.errors import ConfigError
from ardistill.noise import Draw
from ardistill.protocols import Jump, Prediction, Redraw, Schedule, StepLayout
from ardistill.sampling import Marginals, categorical, read_out, recipes, schedule


@given(seed=st.integers(0, 2**32 - 1), removed=st.integers(0, 5))
def test_categorical_never_leaves_the_support(seed, removed):
    draw = Draw(seed, "t", 0, 50)
    logits_BV = draw.normal("logits", 6)
    logits_BV[:, torch.randperm(6, generator=torch.Generator().manual_seed(seed))[:removed]] = -math.inf
    log_p_BV = torch.log_softmax(logits_BV, -1)
    for uniform in (draw.uniform("u"), torch.zeros(50), torch.full((50,), 1 - 2**-24)):
        tokens_B = categorical(log_p_BV, uniform)
        assert log_p_BV.gather(-1, tokens_B[:, None]).isfinite().all()


def test_categorical_frequencies_are_the_probabilities():
    log_p_V = torch.tensor([0.5, 0.0, 0.2, 0.3]).log()
    tokens_N = categorical(log_p_V.expand(40_000, -1), Draw(0, "f", 0, 40_000).uniform("u"))
    frequency_V = torch.bincount(tokens_N, minlength=4) / 40_000
    torch.testing.assert_close(frequency_V, log_p_V.exp(), atol=0.01, rtol=0)
    assert frequency_V[1] == 0


class _Jumper:
    def __init__(self, *starts):
        self.jumps = tuple(Jump(start) for start in starts)
        self.schedules = {"pre-trained-4-5": Schedule((Redraw(3, 4),), "pre-trained-4-5")}


LAYOUT = StepLayout((1, 4, 9, 16))


def test_steps_of_a_one_jump_student_are_redraws_of_the_last_steps():
    assert schedule("1", _Jumper(0), LAYOUT).moves == (Jump(0),)
    assert schedule("3", _Jumper(0), LAYOUT).moves == (Jump(0), Redraw(2, 4))
    assert schedule("3", _Jumper(0), LAYOUT).passes == 3


def test_steps_of_a_student_that_jumps_from_later_states_are_its_own():
    assert schedule("2", _Jumper(0, 2), LAYOUT).moves == (Jump(0), Jump(2))


def test_pre_trained_rows_count_steps_from_one():
    plan = schedule("pre-trained-2-3", _Jumper(0, 2), LAYOUT)
    assert plan.moves == (Jump(0), Redraw(1, 2), Jump(2))
    assert plan.passes == 3
    assert schedule("pre-trained-1-3", _Jumper(0, 2), LAYOUT).moves == (Redraw(0, 2), Jump(2))


def test_a_students_own_schedule_goes_before_the_rule():
    assert schedule("pre-trained-4-5", _Jumper(0), LAYOUT).moves == (Redraw(3, 4),)


def test_recipes_have_splits_of_their_own():
    made = recipes(["pre-trained-2-3:4", "2:1"], [Jump(0, 2), Jump(2, 2)], LAYOUT)
    assert made["pre-trained-2-3"].moves == (Jump(0, 4), Redraw(1, 2), Jump(2, 4))
    assert made["2"].moves == (Jump(0, 1), Jump(2, 1))
    assert made["2"].words == "2"


@pytest.mark.parametrize("recipe", ["pre-trained-2-3", ":4", "pre-trained-2-3:x", "pre-trained-9-9:1", "1:5"])
def test_recipes_that_say_nothing_are_refused(recipe):
    with pytest.raises(ConfigError, match=r"recipe|steps="):
        recipes([recipe], [Jump(0), Jump(2)], LAYOUT)


def test_a_schedule_has_one_split():
    with pytest.raises(ConfigError, match="twice"):
        recipes(["1:2", "1:3"], [Jump(0)], LAYOUT)


def test_logits_are_read_up_to_the_split_and_never_before_the_start():
    codes_VC = torch.eye(3) * 10
    latents_BLC = torch.randn(2, 30, 3)
    logits_BLV = torch.randn(2, 30, 3)
    read_BLC = read_out(Prediction(latents_BLC, logits_BLV), Jump(start=1, split=3), LAYOUT, codes_VC)
    assert torch.equal(read_BLC[:, :1], latents_BLC[:, :1])
    assert torch.equal(read_BLC[:, 1:14], codes_VC[logits_BLV[:, 1:14].argmax(-1)])
    assert torch.equal(read_BLC[:, 14:], latents_BLC[:, 14:])
    assert torch.equal(read_out(Prediction(latents_BLC), Jump(0, 3), LAYOUT, codes_VC), latents_BLC)


@pytest.mark.parametrize("words", ["0", "5", "-1", "pre-trained-3-2", "pre-trained-2-3", "fast", "", "²"])
def test_impossible_schedules_are_refused_in_one_sentence(words):
    with pytest.raises(ConfigError, match="steps="):
        schedule(words, _Jumper(0), LAYOUT)


def test_marginals_keep_each_positions_frequencies_and_no_more():
    """Two perfectly correlated tokens: the frequencies survive, the correlation does not."""
    labels_B = torch.arange(4_000) % 2
    first_B = Draw(0, "m", 0, 4_000).integers("t", 3)
    tokens_BL = torch.stack([first_B, first_B], 1) + labels_B[:, None]
    drawn_BL = Marginals.of(tokens_BL, labels_B, 2, 4).tokens(
        labels_B, Draw(1, "m", 0, 4_000).uniform("u", 2)
    )
    for label in (0, 1):
        got_V = torch.bincount(drawn_BL[labels_B == label, 0], minlength=4) / 2_000
        want_V = torch.tensor([1, 1, 1, 0]).roll(label) / 3
        torch.testing.assert_close(got_V, want_V, atol=0.04, rtol=0)
    assert 0.25 < float((drawn_BL[:, 0] == drawn_BL[:, 1]).float().mean()) < 0.42


def test_layouts():
    assert LAYOUT.n_tokens == 30
    assert [LAYOUT.offset(k) for k in range(5)] == [0, 1, 5, 14, 30]
    assert LAYOUT.span(2) == slice(5, 14)
    assert LAYOUT.step_of_token().tolist() == [0] + [1] * 4 + [2] * 9 + [3] * 16
    with pytest.raises(ValueError, match=r"0\.\.4"):
        LAYOUT.offset(5)
    with pytest.raises(ValueError, match="at least one token"):
        StepLayout((1, 0))
