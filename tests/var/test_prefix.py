"""Continuing given scales: as the teacher emits them, and as the released DD1 sampler does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ardistill.protocols import Condition, Guidance
from ardistill.sampling import teacher_tokens
from tests.var.models import random_tokens, small_teacher

LABELS = Condition(torch.tensor([0, 4, 2]))
CAUSAL = small_teacher(Guidance(1.5), patch_nums=(1, 2, 3, 4))
JOINT = small_teacher(Guidance(1.5), patch_nums=(1, 2, 3, 4), joint_prefix=True)
LAYOUT = CAUSAL.layout


def continued(teacher, tokens: Tensor, given_scales: int) -> list[Tensor]:
    prefix = tokens[:, : LAYOUT.offset(given_scales)] if given_scales else None
    cursor, parts = teacher.start(LABELS, prefix), []
    for step in range(given_scales, LAYOUT.n_steps):
        parts.append(cursor.log_probs())
        cursor.accept(tokens[:, LAYOUT.span(step)])
    return parts


@pytest.mark.parametrize("given_scales", range(4))
def test_without_a_prefix_they_are_the_same_and_with_one_they_are_not(given_scales: int) -> None:
    tokens = random_tokens(CAUSAL, 3, seed=2)
    causal, joint = (continued(teacher, tokens, given_scales) for teacher in (CAUSAL, JOINT))
    for a, b in zip(causal, joint, strict=True):
        if given_scales:
            assert (a - b).abs().max() > 0.01
        else:
            assert torch.equal(a, b)


@given(st.integers(0, 3), st.integers(0, 100))
def test_a_causal_continuation_is_the_one_pass(given_scales: int, seed: int) -> None:
    tokens = random_tokens(CAUSAL, 3, seed)
    want = CAUSAL.log_probs(LABELS, CAUSAL.tokenizer.codebook[tokens])[:, LAYOUT.offset(given_scales) :]
    got = torch.cat(continued(CAUSAL, tokens, given_scales), dim=1)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@given(st.integers(1, 3), st.integers(0, 100))
def test_a_joint_prefix_sees_all_of_itself_and_the_next_map(given_scales: int, seed: int) -> None:
    """The oracle is the network itself, its mask taken off over the prefix and the map after it."""
    tokens = random_tokens(JOINT, 3, seed)
    model = JOINT.model
    end = LAYOUT.offset(given_scales + 1)
    inputs = JOINT.tokenizer.quantize.inputs(JOINT.tokenizer.codebook[tokens])[:, : end - 1]
    labels = LABELS.require_labels()
    logits = []
    for row in (labels, torch.full_like(labels, model.config.num_classes)):
        cond = model.class_emb(row)
        x = model.embed(inputs, cond, slice(0, given_scales + 1))
        logits.append(model.logits(model.run_blocks(x, cond, None), cond)[:, LAYOUT.span(given_scales)])
    t = 1.5 * given_scales / 3
    want = ((1 + t) * logits[0] - t * logits[1]).log_softmax(-1)
    torch.testing.assert_close(continued(JOINT, tokens, given_scales)[0], want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("teacher", [CAUSAL, JOINT])
def test_a_whole_prefix_leaves_nothing_to_do(teacher) -> None:
    tokens = random_tokens(teacher, 3, seed=0)
    made = teacher_tokens(teacher, LABELS, torch.zeros(tokens.shape), prefix_tokens_Bl=tokens)
    assert torch.equal(made, tokens)


def test_vectors_may_take_the_place_of_codes() -> None:
    tokens = random_tokens(CAUSAL, 3, seed=4)
    told, shown = CAUSAL.start(LABELS), CAUSAL.start(LABELS)
    for step in range(2):
        told.accept(tokens[:, LAYOUT.span(step)])
        shown.accept_vectors(CAUSAL.tokenizer.codebook[tokens[:, LAYOUT.span(step)]])
    assert torch.equal(told.log_probs(), shown.log_probs())
    with pytest.raises(ValueError, match="scale 2 takes"):
        shown.accept_vectors(torch.zeros(3, 4, 6))
    shown.accept_vectors(torch.zeros(3, 9, 6))
    assert shown.step == 3
