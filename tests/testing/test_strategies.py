"""The public strategies give what they say, and the toy teacher is the closed form that it is said to be."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill.protocols import ARTeacher, Condition, Jumper, Jumps, Student, Tokenizer, Trunk
from ardistill.sampling import teacher_tokens
from ardistill.testing import strategies as small
from ardistill.testing import toy_teacher
from ardistill.testing.toy import ToyTokenizer

TEACHER = toy_teacher((1, 2), n_codes=4)


@given(small.teachers(), small.draws())
@settings(max_examples=25)
def test_small_teachers_agree_with_themselves(teacher: ARTeacher, draw) -> None:
    assert isinstance(teacher, ARTeacher)
    condition = Condition(draw.integers("label", teacher.n_classes))
    uniform_BL = draw.uniform("u", teacher.layout.n_tokens)
    tokens_BL = teacher_tokens(teacher, condition, uniform_BL)
    log_p_BLV = teacher.log_probs(condition, teacher.tokenizer.codebook[tokens_BL])
    torch.testing.assert_close(log_p_BLV.exp().sum(-1), torch.ones(tokens_BL.shape))
    assert log_p_BLV.gather(-1, tokens_BL[..., None]).isfinite().all()
    k = teacher.guidance.top_k
    assert not k or (log_p_BLV > -torch.inf).sum(-1).max() <= k


@given(small.tokenizers(), st.integers(0, 99))
def test_small_tokenizers_are_undone(tokenizer: ToyTokenizer, seed: int) -> None:
    assert isinstance(tokenizer, Tokenizer)
    generator = torch.Generator().manual_seed(seed)
    tokens_BL = torch.randint(len(tokenizer.codebook), (2, tokenizer.n_tokens), generator=generator)
    if tokenizer.codebook.abs().max() < 4:
        assert torch.equal(tokenizer.encode(tokenizer.decode(tokenizer.codebook[tokens_BL])), tokens_BL)


@given(small.layouts(max_steps=3, max_size=2))
def test_layouts_are_as_small_as_asked(layout) -> None:
    assert 1 <= layout.n_steps <= 3
    assert max(layout.sizes) <= 2


@given(small.trajectories(TEACHER, batch=2), st.integers(0, TEACHER.layout.n_steps))
def test_trajectories_fit_their_teacher(pair, step: int) -> None:
    codes_VC, cut = TEACHER.tokenizer.codebook, TEACHER.layout.offset(step)
    state_BLC = pair.state(step, codes_VC)
    assert state_BLC.shape == (2, 3, 3)
    assert torch.equal(state_BLC[:, :cut], codes_VC[pair.tokens_BL[:, :cut]])
    assert torch.equal(state_BLC[:, cut:], pair.noise_BLC[:, cut:])
    assert 0 <= int(pair.condition.labels_B.min()) <= int(pair.condition.labels_B.max()) < 3


def test_the_toys_joint_is_written_down_and_sampled() -> None:
    """The product of the conditionals over all sequences sums to 1, and samples fall on it (total variation)."""
    n = 4000
    tokens_SL = torch.tensor(list(itertools.product(range(4), repeat=3)))
    condition = Condition(torch.ones(len(tokens_SL), dtype=torch.int64))
    log_p_SLV = TEACHER.log_probs(condition, TEACHER.tokenizer.codebook[tokens_SL])
    joint_S = log_p_SLV.gather(-1, tokens_SL[..., None])[..., 0].sum(1).exp()
    assert float(joint_S.sum()) == pytest.approx(1, abs=1e-4)
    uniform = torch.rand(n, 3, generator=torch.Generator().manual_seed(0))
    drawn_nL = teacher_tokens(TEACHER, Condition(torch.ones(n, dtype=torch.int64)), uniform)
    counts_S = torch.bincount(drawn_nL @ torch.tensor([16, 4, 1]), minlength=64) / n
    assert float(0.5 * (counts_S - joint_S).abs().sum()) < 0.06
    assert float(0.5 * (1 / 64 - joint_S).abs().sum()) > 0.4


def test_the_toys_networks_are_what_the_protocols_say() -> None:
    trunk: Trunk = TEACHER.trunk()
    assert trunk.width == 16
    student = TEACHER.jumper(Jumps(starts=(0, 1)), seed=1)
    assert isinstance(student, Jumper)
    assert isinstance(student, Student)
    assert not torch.equal(student.to_latent.weight, TEACHER.jumper(Jumps(), seed=2).to_latent.weight)
