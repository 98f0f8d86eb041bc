"""DD2's losses against what the paper says they measure."""

from pathlib import Path

import torch
from ardistill_dd2.config import DD2Config, HeadConfig
from ardistill_dd2.losses import conditional_score_distillation, fake_score, ground_truth_score
from ardistill_dd2.method import DD2
from ardistill_exact.config import SparseConfig, TrunkConfig
from ardistill_exact.teacher import sparse_teacher
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill import flow
from ardistill.noise import Draw
from ardistill.protocols import RunContext

CODES_VC = Draw(0, "codes", 0, 1).normal("c", 8, 3)[0]


class Oracle:
    """A model whose velocity is that of a given posterior mean."""

    def __init__(self, log_p_BLV):
        self.log_p_BLV = log_p_BLV

    def velocity(self, x_MBLC, t_MBL, _):
        return flow.velocity(x_MBLC, t_MBL, flow.posterior_mean(x_MBLC, t_MBL, self.log_p_BLV, CODES_VC))


def batch(seed, draws=3, size=5, tokens=4):
    draw = Draw(seed, "losses", 0, size)
    log_p_BLV = torch.log_softmax(draw.normal("p", tokens, 8), -1)
    eps_MBLC = draw.normal("eps", draws, tokens, 3).transpose(0, 1)
    t_MBL = 0.05 + 0.9 * draw.uniform("t", draws, tokens).transpose(0, 1)
    return draw.normal("q", tokens, 3), eps_MBLC, t_MBL, log_p_BLV


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_the_ground_truth_loss_vanishes_at_the_teachers_scores_and_nowhere_else(seed):
    q_BLC, eps_MBLC, t_MBL, log_p_BLV = batch(seed)
    args = (None, q_BLC, eps_MBLC, t_MBL, log_p_BLV, CODES_VC)
    assert float(ground_truth_score(Oracle(log_p_BLV), *args)) < 1e-8
    assert float(ground_truth_score(Oracle(log_p_BLV.roll(1, -1)), *args)) > 1e-4


def test_the_fake_scores_minimum_is_the_posterior_of_the_generators_distribution():
    """Over many samples of codes drawn from p, no model beats the velocity of p's own posterior mean."""
    _, _, _, log_p_BLV = batch(0, size=1, tokens=1)
    n = 4_000
    draw = Draw(1, "fake", 0, n)
    tokens_B1 = torch.multinomial(log_p_BLV[0, 0].exp(), n, True, generator=torch.Generator().manual_seed(0))[
        :, None
    ]
    q_BLC, eps_MBLC = CODES_VC[tokens_B1], draw.normal("eps", 1, 3)[None]
    t_MBL = 0.3 + 0.4 * draw.uniform("t", 1)[None]
    best = float(fake_score(Oracle(log_p_BLV.expand(n, -1, -1)), None, q_BLC, eps_MBLC, t_MBL))
    for shift in range(1, 8):
        other = log_p_BLV.roll(shift, -1).expand(n, -1, -1)
        assert float(fake_score(Oracle(other), None, q_BLC, eps_MBLC, t_MBL)) > best


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_csd_is_zero_with_zero_pull_where_guidance_and_teacher_agree(seed):
    q_BLC, eps_MBLC, t_MBL, log_p_BLV = batch(seed)
    for form in ("sid", "dmd"):
        free_BLC = q_BLC.clone().requires_grad_()
        loss = conditional_score_distillation(
            Oracle(log_p_BLV), None, free_BLC, eps_MBLC, t_MBL, log_p_BLV, CODES_VC, form=form, alpha=1.0
        )
        (pull_BLC,) = torch.autograd.grad(loss, free_BLC)
        assert abs(float(loss.detach())) < 1e-5
        assert float(pull_BLC.abs().max()) < 1e-4


@given(seed=st.integers(0, 10_000), t=st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=20)
def test_the_x0_form_of_sid_is_its_score_form_up_to_the_time_factor(seed, t):
    """(s_T - s_g).((s_T - s(x|q)) - a (s_T - s_g)) = ((1-t)/t^2)^2 times the form in posterior means."""
    q_BLC, eps_MBLC, _, log_p_BLV = batch(seed)
    t_MBL = torch.full(eps_MBLC.shape[:-1], t)
    x_MBLC = flow.interpolate(q_BLC, eps_MBLC, t_MBL)
    mean_T = flow.posterior_mean(x_MBLC, t_MBL, log_p_BLV, CODES_VC)
    mean_g = flow.posterior_mean(x_MBLC, t_MBL, log_p_BLV.roll(1, -1), CODES_VC)
    score_T, score_g = flow.score(x_MBLC, t_MBL, mean_T), flow.score(x_MBLC, t_MBL, mean_g)
    gap = score_T - score_g
    by_scores = gap * ((score_T + eps_MBLC / t) - 1.2 * gap)
    by_means = (mean_T - mean_g) * ((mean_T - q_BLC) - 1.2 * (mean_T - mean_g))
    factor = ((1 - t) / t**2) ** 2
    torch.testing.assert_close(by_scores, factor * by_means, rtol=2e-3, atol=2e-3 * factor)


def test_the_alternation_gives_k_guidance_updates_to_one_of_the_generator():
    teacher = sparse_teacher(
        SparseConfig(trunk=TrunkConfig(width=16, depth=1, heads=2, fit_updates=0)), lambda _: None
    )
    config = DD2Config(head=HeadConfig(width=16, blocks=1), csd_ratio=3)
    phase = DD2(config, teacher, RunContext(0, Path("unused"), torch.device("cpu"))).phases()[-1]
    assert [phase.role(update) for update in range(8)] == [*["guidance"] * 3, "generator"] * 2
