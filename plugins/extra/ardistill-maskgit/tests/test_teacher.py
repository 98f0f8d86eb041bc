"""The teacher keeps its protocol: by the kit, and where the kit can't know what is meant."""

import pytest
import torch
from ardistill_maskgit.transformer import initialised
from hypothesis import given
from hypothesis import strategies as st

from ardistill.errors import ConfigError, MisfitError
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition
from ardistill.testing import check_teacher

L, CODES = 9, 24


def example(seed=0, batch=3):
    draw = Draw(seed, "maskgit", 0, batch)
    return Condition(draw.integers("label", 5)), draw.integers("token", CODES, L)


@pytest.mark.parametrize(
    ("steps", "scale", "top_k", "top_p"), [(4, 0.0, 0, 0.0), (3, 1.5, 6, 0.0), (9, 0.5, 0, 0.9)]
)
def test_the_teacher_conforms(make_teacher, steps, scale, top_k, top_p):
    teacher = make_teacher(steps, scale, top_k, top_p)
    assert isinstance(teacher, ARTeacher)
    check_teacher(teacher)


@given(steps=st.integers(1, L), scale=st.sampled_from([0.0, 2.0]), seed=st.integers(0, 99), data=st.data())
def test_the_cursor_agrees_with_the_passes_of_one_batch(make_teacher, steps, scale, seed, data):
    teacher = make_teacher(steps, scale)
    condition, tokens = example(seed)
    expected = teacher.log_probs(condition, teacher.tokenizer.codebook[tokens])
    given_steps = data.draw(st.integers(0, steps))
    cursor = teacher.start(condition, tokens[:, : teacher.layout.offset(given_steps)])
    for step in range(given_steps, steps):
        span = teacher.layout.span(step)
        torch.testing.assert_close(cursor.log_probs(), expected[:, span], atol=1e-4, rtol=1e-4)
        cursor.accept(tokens[:, span])
    for call in (cursor.log_probs, lambda: cursor.accept(tokens[:, :1])):
        with pytest.raises(ValueError, match=f"all {steps} steps are emitted"):
            call()


@given(place=st.integers(0, L - 1), seed=st.integers(0, 99))
def test_a_token_moves_all_later_steps_and_no_other_token(make_teacher, place, seed):
    teacher = make_teacher()
    condition, tokens = example(seed)
    others = tokens.clone()
    others[:, place] = (others[:, place] + 1) % CODES
    codes = teacher.tokenizer.codebook
    before, after = (teacher.log_probs(condition, codes[t]) for t in (tokens, others))
    steps = teacher.layout.step_of_token()
    moved = (after - before).abs().amax((0, 2))
    assert torch.all(moved[steps <= steps[place]] == 0)
    assert torch.all(moved[steps > steps[place]] > 1e-4)


def test_guidance_goes_beyond_the_condition(make_teacher):
    """Cond + scale (cond - null), before the softmax; a scale of 0 guides nothing."""
    plain, guided = make_teacher(4, 0.0), make_teacher(4, 1.5)
    condition, tokens = example()
    latents = plain.tokenizer.codebook[tokens]
    null = torch.full_like(condition.labels_B, 5)
    with torch.no_grad():
        cond, uncond = (plain.model.step_logits(latents, c, plain.layout) for c in (condition.labels_B, null))
    torch.testing.assert_close(plain.log_probs(condition, latents), cond.log_softmax(-1))
    expected = (cond + 1.5 * (cond - uncond)).log_softmax(-1)
    torch.testing.assert_close(guided.log_probs(condition, latents), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_the_trunk_begins_as_the_teacher(make_teacher, steps):
    teacher = make_teacher(steps)
    condition, tokens = example()
    latents = teacher.tokenizer.codebook[tokens]
    with torch.no_grad():
        logits = teacher.model.to_logits(teacher.trunk()(latents, condition))
    torch.testing.assert_close(logits.log_softmax(-1), teacher.log_probs(condition, latents))


def test_prefixes_and_tokens_of_other_lengths_are_refused(make_teacher):
    teacher = make_teacher(4)  # of 1, 2, 3 and 3 tokens
    condition, tokens = example()
    assert teacher.layout.sizes == (1, 2, 3, 3)
    with pytest.raises(ValueError, match="a prefix of 2 tokens ends inside of a step"):
        teacher.start(condition, tokens[:, :2])
    with pytest.raises(ValueError, match=r"step 0 takes tokens \(3, 1\), got \(3, 2\)"):
        teacher.start(condition).accept(tokens[:, :2])


def test_a_tokenizer_of_other_codes_is_refused(make_teacher, make_tokenizer):
    model = make_teacher().model
    with pytest.raises(MisfitError, match="trained on another tokenizer's codes"):
        type(make_teacher())(model, make_tokenizer(seed=5), 4)


def test_more_steps_than_tokens_are_refused(make_teacher):
    with pytest.raises(ConfigError, match="steps=10 is more than the 9 tokens"):
        make_teacher(10)


def test_initial_weights_hang_on_the_seed_alone(make_teacher):
    model = make_teacher().model
    one, two, other = (initialised(model.config, model.codes_VC, seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.place_LD, other.place_LD)
