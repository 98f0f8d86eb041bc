"""The closed forms of the flow, held against autograd, against each other, and against the distribution they map to."""

import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ardistill import flow, load_teacher, posteriors
from ardistill.noise import Draw
from ardistill.solvers import DEFAULT_EVALUATIONS, DEFAULT_SOLVER
from ardistill.values import Condition

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


def deviation(tokens_n, p_V):
    """Pearson's chi-square of the tokens' counts in deviations from its mean; rare tokens count as one."""
    expected_V, observed_V = (
        len(tokens_n) * p_V.double(),
        torch.bincount(tokens_n, minlength=len(p_V)).double(),
    )
    rare_V = expected_V < 5
    square_V = (observed_V - expected_V).square() / expected_V
    rare = (observed_V[rare_V].sum() - expected_V[rare_V].sum()).square() / expected_V[
        rare_V
    ].sum().clamp_min(5)
    freedom = int((~rare_V).sum()) - 1 + int(rare_V.any())
    return float(square_V[~rare_V].sum() + rare - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("solver", "evaluations"),
    [("euler", 400), ("heun", 31), (DEFAULT_SOLVER, DEFAULT_EVALUATIONS)],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_ode_maps_marginal_is_the_teachers_distribution(solver, evaluations, seed):
    """Over 40,000 noise vectors; random sampling is within 5.3 deviations but for one in 10,000."""
    n, codes = 40_000, 16
    draw = Draw(seed, "test-marginal", 0, 1)
    codes_VC = draw.normal("codes", codes, 4)[0]
    log_p_V = torch.log_softmax(draw.normal("logits", codes)[0], -1)
    noise_nC = draw.normal("noise", n, 4)[0]
    tokens_n = flow.ode_map(noise_nC, log_p_V, codes_VC, evaluations=evaluations, solver=solver)
    assert deviation(tokens_n, log_p_V.exp()) < 5.3


@pytest.mark.parametrize("name", ["var", "llamagen"])
def test_the_default_has_the_digits_teachers_marginals(name):
    """The widest and the narrowest conditional of the first step after the start, over 40,000 noise vectors."""
    teacher = load_teacher(name)
    log_p_NV = teacher.start(Condition(torch.arange(10))).log_probs()[:, 0]
    codes_VC = teacher.tokenizer.codebook
    noise_nC = Draw(0, f"test-marginal-{name}", 0, 1).normal("noise", 40_000, codes_VC.shape[1])[0]
    entropy_N = -(log_p_NV.exp() * log_p_NV.clamp_min(-100)).sum(-1)
    for row in (entropy_N.argmin(), entropy_N.argmax()):
        tokens_n = flow.ode_map(noise_nC, log_p_NV[row], codes_VC)
        assert deviation(tokens_n, log_p_NV[row].exp()) < 5
        coarse_n = flow.ode_map(noise_nC, log_p_NV[row], codes_VC, solver="euler", evaluations=10)
        assert deviation(coarse_n, log_p_NV[row].exp()) > 10, "what this test can see"


def many(seed=5, n=400):
    draw = Draw(seed, "test-many", 0, n)
    codes_VC = draw.normal("codes", 6)[:96]
    return draw.normal("noise", 6), torch.log_softmax(2 * draw.normal("logits", 96), -1), codes_VC


def test_the_default_finds_the_tokens_of_a_fine_solve():
    problem = many()
    fine_N = flow.ode_map(*problem, solver="heun", evaluations=801)
    assert (flow.ode_map(*problem, solver="heun", evaluations=401) == fine_N).float().mean() > 0.995
    assert (flow.ode_map(*problem) == fine_N).float().mean() >= 0.98
    euler_N = flow.ode_map(*problem, solver="euler", evaluations=DEFAULT_EVALUATIONS)
    assert (euler_N == fine_N).float().mean() < 0.97


def directly(noise_NC, log_p_NV, codes_VC, evaluations, solver):
    """The same rules for dx/dt = (x - D) / t as textbooks have them, in float64."""
    codes_VC = codes_VC.double() - codes_VC.double().mean(0)
    codes_VC = codes_VC / codes_VC.square().mean().sqrt()

    def mean(x_NC, t):
        square_NV = (x_NC[:, None] - (1 - t) * codes_VC).square().sum(-1)
        return torch.softmax(log_p_NV.double() - square_NV / (2 * t * t), -1) @ codes_VC, square_NV

    steps = (evaluations + 1) // 2 if solver == "heun" else evaluations
    x_NC, h, before = noise_NC.double(), 1 / steps, None
    for step in range(steps - 1):
        t, t_next = 1 - step * h, 1 - (step + 1) * h
        data_NC, _ = mean(x_NC, t)
        ahead_NC = x_NC - h * (x_NC - data_NC) / t
        if solver == "heun":
            ahead_data_NC, _ = mean(ahead_NC, t_next)
            slope_NC = (x_NC - data_NC) / t + (ahead_NC - ahead_data_NC) / t_next
            ahead_NC = x_NC - h / 2 * slope_NC
        elif solver == "multistep" and before is not None:
            # x' = t'/t x + t' int D ds/s^2 over t'..t, with D = data + bend (t - s), by quadrature
            s = torch.linspace(t_next, t, 200_001, dtype=torch.float64)
            bend_NC = (data_NC - before) / h
            ahead_NC = ahead_NC + t_next * bend_NC * float(torch.trapezoid((t - s) / s**2, s))
        x_NC, before = ahead_NC, data_NC
    t = 1 - (steps - 1) * h
    return (log_p_NV.double() - mean(x_NC, t)[1] / (2 * t * t)).argmax(-1)


@pytest.mark.parametrize("solver", ["euler", "heun", "multistep"])
@pytest.mark.parametrize("evaluations", [1, 2, 3, 4, 9])
def test_solvers_follow_their_rules(solver, evaluations):
    problem = many()
    want_N = directly(*problem, evaluations, solver)
    got_N = flow.ode_map(*problem, evaluations=evaluations, solver=solver)
    assert (got_N != want_N).sum() <= 1, "a tie, at most"


def test_one_evaluation_takes_the_likeliest_token():
    noise_NC, log_p_NV, codes_VC = many()
    assert flow.ode_map(noise_NC, log_p_NV, codes_VC, evaluations=1).equal(log_p_NV.argmax(-1))
    with pytest.raises(ValueError, match="at least one evaluation, not 0"):
        flow.ode_map(noise_NC, log_p_NV, codes_VC, evaluations=0)


def test_where_codes_lie_and_how_large_they_are_does_not_matter():
    noise_NC, log_p_NV, codes_VC = many()
    tokens_N = flow.ode_map(noise_NC, log_p_NV, codes_VC)
    moved_N = flow.ode_map(noise_NC, log_p_NV, 0.01 * codes_VC + 0.05)
    assert (moved_N != tokens_N).sum() <= 1
    assert flow.ode_map(noise_NC, log_p_NV, torch.zeros_like(codes_VC)).equal(log_p_NV.argmax(-1))


@pytest.mark.parametrize("solver", ["euler", "heun", "multistep"])
def test_chunks_do_not_matter(solver, monkeypatch):
    problem = many()
    whole_N = flow.ode_map(*problem, solver=solver)
    for rows in (1, 7, 399):
        monkeypatch.setattr(posteriors, "_CHUNK_CPU", rows * 96)
        assert (flow.ode_map(*problem, solver=solver) != whole_N).sum() <= 1


def test_shapes_and_types_of_the_ode_map():
    noise_NC, log_p_NV, codes_VC = many()
    before = [noise_NC.clone(), log_p_NV.clone(), codes_VC.clone()]
    tokens_N = flow.ode_map(noise_NC, log_p_NV, codes_VC)
    assert tokens_N.dtype is torch.int64
    assert all(map(torch.equal, before, (noise_NC, log_p_NV, codes_VC)))
    folded = flow.ode_map(noise_NC.view(20, 20, 6), log_p_NV.view(20, 20, 96), codes_VC)
    assert folded.equal(tokens_N.view(20, 20))
    one = flow.ode_map(noise_NC.view(20, 20, 6), log_p_NV[3], codes_VC)
    assert one.equal(flow.ode_map(noise_NC, log_p_NV[3].expand(400, -1), codes_VC).view(20, 20))
    assert flow.ode_map(noise_NC[:0], log_p_NV[:0], codes_VC).shape == (0,)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert flow.ode_map(noise_NC, log_p_NV, codes_VC).equal(tokens_N)
    doubled_N = flow.ode_map(noise_NC.double(), log_p_NV.double(), codes_VC.double())
    assert (doubled_N != tokens_N).sum() <= 1


@pytest.fixture
def always_restricted(monkeypatch):
    """Rows of up to three quarters of the codes are solved over their own, however little work that spares."""
    monkeypatch.setattr(posteriors, "_FEW_CPU", 0.75)
    monkeypatch.setattr(posteriors, "_WORTH_PARTING", 1)


def filtered(seed, n, codes, width):
    """Distributions that leave between one code and all of them, some with ties, and the noise."""
    draw = Draw(seed, "test-filtered", 0, n)
    logits_NV = 2 * draw.normal("logits", codes)
    logits_NV[::3] = logits_NV[::3].round()
    left_N1 = 1 + draw.integers("left", codes).unsqueeze(-1)
    least_N1 = logits_NV.sort(-1, descending=True).values.gather(-1, left_N1 - 1)
    log_p_NV = logits_NV.masked_fill(logits_NV < least_N1, -math.inf).log_softmax(-1)
    codes_VC = 0.3 + 5 * Draw(seed, "test-filtered", 0, 1).normal("codes", codes, width)[0]
    return draw.normal("noise", width), log_p_NV, codes_VC


@given(
    seed=seeds,
    codes=st.integers(2, 60),
    width=st.integers(1, 9),
    solver=st.sampled_from(["euler", "heun", "multistep"]),
    evaluations=st.integers(1, DEFAULT_EVALUATIONS),
    chunk=st.sampled_from([1, 500, 1 << 19]),
)
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_restricted_solve_finds_the_same_tokens(
    seed, codes, width, solver, evaluations, chunk, always_restricted, monkeypatch
):
    """The two differ in the order of sums: by a token of 60, where two codes tie to the last digits."""
    problem = filtered(seed, 60, codes, width)
    monkeypatch.setattr(posteriors, "_CHUNK_CPU", chunk)
    whole_N = flow.ode_map(*problem, solver=solver, evaluations=evaluations)
    restricted_N = flow.ode_map(*problem, solver=solver, evaluations=evaluations, restricted=True)
    assert (restricted_N != whole_N).sum() <= 1
    assert problem[1].gather(-1, restricted_N[:, None]).isfinite().all(), "it never leaves the support"


def test_a_restricted_solve_has_the_distributions_marginal(always_restricted):
    n, codes = 40_000, 32
    draw = Draw(7, "test-restricted-marginal", 0, 1)
    log_p_V = draw.normal("logits", codes)[0]
    log_p_V = log_p_V.masked_fill(log_p_V < log_p_V.sort().values[-12], -math.inf).log_softmax(-1)
    noise_nC, codes_VC = draw.normal("noise", n, 4)[0], draw.normal("codes", codes, 4)[0]
    tokens_n = flow.ode_map(noise_nC, log_p_V, codes_VC, restricted=True)
    left_V = log_p_V.isfinite()
    assert left_V[tokens_n].all()
    assert deviation((left_V.cumsum(0) - 1)[tokens_n], log_p_V[left_V].exp()) < 5.3


def test_rows_of_few_codes_alone_are_solved_over_them(monkeypatch):
    """As measured on a CPU, where there is so much to do that looking for them is worth it; never on a GPU."""
    log_p_NV = torch.zeros(32, 4_096)
    log_p_NV[:12, 512:], log_p_NV[12:, 513:] = -math.inf, -math.inf
    solved = {"Whole": [], "Few": []}
    for kind in (posteriors.Whole, posteriors.Few):

        def noted(codes, log_p_RV, kind=kind):
            solved[kind.__name__].append(len(log_p_RV))
            return kind(codes, log_p_RV)

        monkeypatch.setattr(flow, kind.__name__, noted)

    def rows(count, **words):
        for each in solved.values():
            each.clear()
        flow.ode_map(torch.zeros(count, 3), log_p_NV[:count], torch.eye(4_096, 3), evaluations=2, **words)
        return sum(solved["Whole"]), sum(solved["Few"])

    assert rows(32) == (32, 0)
    assert rows(32, restricted=True) == (20, 12)
    assert rows(8, restricted=True) == (8, 0), "a millisecond of looking for a millisecond of solving"
    monkeypatch.setattr(posteriors, "_FEW_CPU", posteriors._FEW_GPU)
    assert rows(32, restricted=True) == (32, 0)


@pytest.mark.parametrize("words", [{}, {"restricted": True}])
@pytest.mark.parametrize("shape", ["whole", "cut", "shared"])
def test_an_ode_solve_takes_no_more_memory_than_a_chunk(words, shape, always_restricted, monkeypatch):
    """Nothing of (N, V) is made beside the inputs, be they cut out of something larger or one for several."""
    noise_NC, log_p_NV, codes_VC = filtered(1, 400, 40, 6)
    noise_NC, log_p_NV = noise_NC.view(20, 20, 6), log_p_NV.view(20, 20, 40)
    if shape == "cut":
        noise_NC, log_p_NV = noise_NC[:, :15], log_p_NV[:, 3:18]
    elif shape == "shared":
        log_p_NV = log_p_NV[:, :1]
    want = flow.ode_map(noise_NC, log_p_NV, codes_VC)
    monkeypatch.setattr(posteriors, "_CHUNK_CPU", 600)  # 15 rows
    with Made(noise_NC, log_p_NV, codes_VC) as made:
        tokens = flow.ode_map(noise_NC, log_p_NV, codes_VC, **words)
    assert (tokens != want).sum() <= 1
    assert made.bytes <= 2 * 4 * 600, "two buffers"
    assert tokens.numel() * 40 > 2 * 4 * 600, "what this test can see: (N, V) of single bytes"


class Made(TorchDispatchMode):
    """How many bytes the largest memory has that is taken within; views of what was given are none."""

    def __init__(self, *given):
        super().__init__()
        self.bytes, self._given = 0, {each.untyped_storage().data_ptr() for each in given}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, torch.Tensor) and each.untyped_storage().data_ptr() not in self._given:
                self.bytes = max(self.bytes, each.untyped_storage().nbytes())
        return made


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_solve_finds_the_same_tokens_and_is_compiled_once(monkeypatch):
    """Whatever the chunks' last rows, the solver and the codebook; by the compiler of this machine."""
    from torch._dynamo.utils import counters  # takes seconds

    monkeypatch.setattr(posteriors, "_CHUNK_CPU", 40 * 60)
    posteriors._compiled.cache_clear()
    torch.compiler.reset()
    counters.clear()
    for n, codes, width, solver in (
        (100, 60, 6, "multistep"),
        (47, 60, 6, "heun"),
        (41, 60, 6, "euler"),  # the last row by itself
        (33, 80, 3, "multistep"),
    ):
        problem = filtered(n, n, codes, width)
        plain_N = flow.ode_map(*problem, solver=solver)
        compiled_N = flow.ode_map(*problem, solver=solver, compiled=True)
        assert (compiled_N != plain_N).sum() <= 1
    assert counters["stats"]["unique_graphs"] == 1


def test_an_ode_solve_is_exported_for_any_batch():
    class Program(torch.nn.Module):
        def forward(self, noise_BLC, log_p_BLV):
            return flow.ode_map(noise_BLC, log_p_BLV, codes_VC, restricted=True, compiled=True)

    noise_NC, log_p_NV, codes_VC = filtered(2, 40, 12, 3)
    batch = torch.export.Dim("batch", min=1, max=1 << 10)
    shapes = {"noise_BLC": {0: batch}, "log_p_BLV": {0: batch}}
    inputs = noise_NC.view(10, 4, 3), log_p_NV.view(10, 4, 12)
    made = torch.export.export(Program(), tuple(each[:2] for each in inputs), dynamic_shapes=shapes)
    for n in (1, 7, 10):
        tokens_BL = made.module()(*(each[:n] for each in inputs))
        assert (tokens_BL != flow.ode_map(*(each[:n] for each in inputs), codes_VC)).sum() <= 1


@pytest.mark.parametrize("evaluations", [1, 2, DEFAULT_EVALUATIONS])
def test_the_ode_map_never_leaves_the_support(evaluations):
    codes_VC, log_p_LV, _, noise_LC = problem(3)
    tokens_L = flow.ode_map(noise_LC, log_p_LV, codes_VC, evaluations=evaluations)
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


@pytest.mark.parametrize(
    "shapes", [((3, 2, 5), (3, 2, 5), (2, 5)), ((2, 5), (1, 1), (2, 5)), ((7,), (7,), ())]
)
@pytest.mark.parametrize("piece", [1, 24, 100])
def test_a_posterior_mean_in_pieces_is_the_same_in_less_memory(shapes, piece, monkeypatch):
    """With the gradients of everything; and no tensor is larger than a piece or than what is given."""
    draw, codes, width = Draw(0, "test-pieces", 0, 1), 12, 3
    x_shape, t_shape, p_shape = shapes
    x_NC, codes_VC = draw.normal("x", *x_shape, width)[0], draw.normal("codes", codes, width)[0]
    t_N, log_p_NV = draw.uniform("t", *t_shape)[0] + 0.1, draw.normal("p", *p_shape, codes)[0].log_softmax(-1)

    def found():
        given = [each.clone().requires_grad_() for each in (x_NC, t_N, log_p_NV, codes_VC)]
        with Largest() as largest:
            mean_NC = flow.posterior_mean(*given)
            (mean_NC.square() * mean_NC.detach().cos()).sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(flow.posterior_mean(*given), mean_NC)
        return [mean_NC, *(each.grad for each in given)], largest.numbers

    (whole, most), _ = found(), monkeypatch.setattr(flow, "_PIECE", piece)
    pieces, largest = found()
    for got, want in zip(pieces, whole, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert most >= math.prod(x_shape) * codes
    assert largest <= max(piece, codes, *(each.numel() for each in (x_NC, log_p_NV, codes_VC)))


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that is made within."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, torch.Tensor):
                self.numbers = max(self.numbers, each.numel())
        return made
