"""The closed forms of the flow, held against autograd, against each other, and against the distribution they map to."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill import flow
from ardistill.noise import Draw

times = st.floats(1e-3, 1.0)
seeds = st.integers(0, 2**32 - 1)


def problem(seed, codes=12, width=3, positions=4):
    """Random codes, a random distribution with some codes removed, and a point of the flow at each position."""
    draw = Draw(seed, "test-flow", 0, 1)
    codes_VC = draw.normal("codes", codes, width)[0]
    logits_LV = 2 * draw.normal("logits", positions, codes)[0]
    logits_LV[:, : codes // 4] = -math.inf
    log_p_LV = torch.log_softmax(logits_LV, -1)
    data_LC = codes_VC[draw.integers("data", codes - codes // 4, positions)[0] + codes // 4]
    return codes_VC, log_p_LV, data_LC, draw.normal("noise", positions, width)[0]


def log_density(x_LC, t, log_p_LV, codes_VC):
    """log p_t(x) of the Gaussian mixture, up to a constant, straight from its definition in float64."""
    square_LV = (x_LC[:, None] - (1 - t) * codes_VC).square().sum(-1)
    return torch.logsumexp(log_p_LV - square_LV / (2 * t * t), -1)


@given(seed=seeds, t=times)
@settings(deadline=None, max_examples=60)
def test_score_is_the_gradient_of_the_log_density(seed, t):
    codes_VC, log_p_LV, data_LC, noise_LC = problem(seed)
    t_L = torch.full((4,), t)
    x_LC = flow.interpolate(data_LC, noise_LC, t_L)
    exact_LC = x_LC.double().requires_grad_()
    (want_LC,) = torch.autograd.grad(
        log_density(exact_LC, float(t_L[0]), log_p_LV.double(), codes_VC.double()).sum(), exact_LC
    )
    got_LC = flow.score(x_LC, t_L, flow.posterior_mean(x_LC, t_L, log_p_LV, codes_VC))
    # The weights' error grows like 1e-7 / t^2, and the score's own size like 1 / t.
    tolerance = 2e-4 * (1 / t + float(want_LC.abs().max())) + 1e-6 / t**2
    torch.testing.assert_close(got_LC.double(), want_LC, atol=tolerance, rtol=0)


@given(seed=seeds, t=st.floats(1e-3, 0.98))
@settings(deadline=None, max_examples=60)
def test_the_two_forms_of_the_velocity_agree(seed, t):
    codes_VC, log_p_LV, data_LC, noise_LC = problem(seed)
    t_L = torch.full((4,), t)
    x_LC = flow.interpolate(data_LC, noise_LC, t_L)
    mean_LC = flow.posterior_mean(x_LC, t_L, log_p_LV, codes_VC)
    v_LC = flow.velocity(x_LC, t_L, mean_LC)
    other_LC = flow.velocity_from_score(x_LC, t_L, flow.score(x_LC, t_L, mean_LC))
    torch.testing.assert_close(other_LC, v_LC, rtol=1e-3, atol=1e-5 / t / (1 - t) + 1e-5)
    torch.testing.assert_close(flow.mean_from_velocity(x_LC, t_L, v_LC), mean_LC, rtol=1e-4, atol=1e-5)


@given(seed=seeds)
@settings(deadline=None, max_examples=30)
def test_the_posterior_is_finite_and_sharp_down_to_the_smallest_time(seed):
    codes_VC, log_p_LV, data_LC, noise_LC = problem(seed)
    for t in (1.0, 0.1, 1e-2, 1e-3):
        t_L = torch.full((4,), t)
        x_LC = flow.interpolate(data_LC, noise_LC, t_L)
        log_w_LV = flow.posterior_log_weights(x_LC, t_L, log_p_LV, codes_VC)
        assert not log_w_LV.isnan().any()
        torch.testing.assert_close(log_w_LV.exp().sum(-1), torch.ones(4))
        assert (log_w_LV[:, :3] == -math.inf).all(), "codes the teacher removed must stay removed"
    torch.testing.assert_close(log_w_LV.exp() @ codes_VC, data_LC, atol=2e-2, rtol=0)


def test_at_t_one_the_posterior_is_the_teachers_distribution():
    codes_VC, log_p_LV, _, noise_LC = problem(0)
    log_w_LV = flow.posterior_log_weights(noise_LC, torch.ones(4), log_p_LV, codes_VC)
    torch.testing.assert_close(log_w_LV, log_p_LV)


@given(seed=seeds, t=times)
@settings(deadline=None, max_examples=30)
def test_permuting_the_codebook_permutes_the_result(seed, t):
    codes_VC, log_p_LV, data_LC, noise_LC = problem(seed)
    order_V = torch.from_numpy(np.random.default_rng(seed).permutation(len(codes_VC)))
    t_L = torch.full((4,), t)
    x_LC = flow.interpolate(data_LC, noise_LC, t_L)
    straight_LC = flow.posterior_mean(x_LC, t_L, log_p_LV, codes_VC)
    permuted_LC = flow.posterior_mean(x_LC, t_L, log_p_LV[:, order_V], codes_VC[order_V])
    torch.testing.assert_close(permuted_LC, straight_LC, atol=1e-3, rtol=1e-3)
    tokens_L = flow.ode_map(noise_LC, log_p_LV, codes_VC)
    permuted_L = flow.ode_map(noise_LC, log_p_LV[:, order_V], codes_VC[order_V])
    assert order_V[permuted_L].equal(tokens_L)


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 400), ("heun", 31)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_ode_maps_marginal_is_the_teachers_distribution(solver, evaluations, seed):
    """Pearson's chi-square over 40,000 noise vectors; the bound is the 1e-4 quantile with 15 degrees of freedom."""
    n, codes = 40_000, 16
    draw = Draw(seed, "test-marginal", 0, 1)
    codes_VC = draw.normal("codes", codes, 4)[0]
    log_p_V = torch.log_softmax(draw.normal("logits", codes)[0], -1)
    noise_nC = draw.normal("noise", n, 4)[0]
    tokens_n = flow.ode_map(noise_nC, log_p_V.expand(n, -1), codes_VC, evaluations=evaluations, solver=solver)
    expected_V = n * log_p_V.double().exp()
    observed_V = torch.bincount(tokens_n, minlength=codes).double()
    chi_square = float(((observed_V - expected_V).square() / expected_V).sum())
    assert chi_square < 44.3


def test_the_ode_map_never_leaves_the_support():
    codes_VC, log_p_LV, _, noise_LC = problem(3)
    tokens_L = flow.ode_map(noise_LC, log_p_LV, codes_VC, evaluations=1)
    assert log_p_LV.gather(-1, tokens_L[:, None]).isfinite().all()


@given(seed=seeds)
@settings(deadline=None, max_examples=30)
def test_nearest_code_agrees_with_brute_force(seed):
    codes_VC, _, _, noise_LC = problem(seed)
    distance_LV = torch.cdist(noise_LC.double(), codes_VC.double())
    got_L = flow.nearest_code(noise_LC, codes_VC)
    best_L = distance_LV.min(-1).values
    torch.testing.assert_close(distance_LV.gather(-1, got_L[:, None])[:, 0], best_L, rtol=1e-5, atol=1e-5)


def test_the_posterior_mean_is_differentiable_in_x():
    codes_VC, log_p_LV, data_LC, noise_LC = problem(1)
    t_L = torch.full((4,), 0.5)
    x_LC = flow.interpolate(data_LC, noise_LC, t_L).double().requires_grad_()

    def mean(x_LC):
        a = (1 - t_L.double()) / t_L.double() ** 2
        fit_LV = a[:, None] * (x_LC @ codes_VC.double().T - 0.25 * codes_VC.double().square().sum(-1))
        return torch.softmax(log_p_LV.double() + fit_LV, -1) @ codes_VC.double()

    (want_LC,) = torch.autograd.grad(mean(x_LC).square().sum(), x_LC)
    y_LC = x_LC.detach().float().requires_grad_()
    (got_LC,) = torch.autograd.grad(flow.posterior_mean(y_LC, t_L, log_p_LV, codes_VC).square().sum(), y_LC)
    torch.testing.assert_close(got_LC.double(), want_LC, atol=1e-4, rtol=1e-3)
