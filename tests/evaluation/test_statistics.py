"""Mean and covariance gathered in batches, and the Frechet distance of them, against independent computations."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_features_to_statistics

from ardistill.errors import DataError
from ardistill.evaluation.statistics import Moments, Statistics, frechet_between


def random_features(n, width, seed=0, centre=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    return torch.from_numpy(centre + scale * (rng.normal(size=(n, width)) @ mixing))


def statistics_of(features, *sizes):
    moments = Moments()
    for part in features.split(list(sizes) or len(features)):
        moments.add(part)
    return moments.statistics()


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 1),
    width=st.integers(1, 6),
    centre=st.sampled_from([0.0, -3.0, 1e6]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 10**6),
)
def test_any_batches_give_what_all_at_once_do(sizes, width, centre, scale, seed):
    features = random_features(sum(sizes), width, seed, centre, scale)
    ours, theirs = statistics_of(features, *sizes), fid_features_to_statistics(features)
    sigma = theirs["sigma"].reshape(width, width)  # numpy gives a bare number for a single feature
    deviation = np.sqrt(np.diag(sigma))
    digits = 1e-12 * (1 + abs(centre) / scale * 1e-3)  # what the features themselves have lost to rounding
    assert ours.n == sum(sizes)
    assert np.abs(ours.mean_F.numpy() - theirs["mu"]).max() <= 1e-12 * (abs(centre) + deviation.max())
    assert (np.abs(ours.covariance_FF.numpy() - sigma) <= digits * np.outer(deviation, deviation)).all()


def test_float32_features_are_gathered_in_float64():
    features = (1000 + random_features(20_000, 2)).float()
    assert statistics_of(features, 15_000, 5_000).mean_F.numpy() == pytest.approx(
        features.double().mean(0).numpy(), rel=1e-14
    )


@pytest.mark.parametrize(("n", "m", "width"), [(300, 200, 8), (60, 500, 24)])
def test_frechet_agrees_with_scipy(n, m, width):
    a, b = random_features(n, width, 1), random_features(m, width, 2, centre=0.3)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(sqrtm(cov_a @ cov_b))
    oracle = float(((a.mean(0) - b.mean(0)) ** 2).sum()) + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_between(statistics_of(a, 7, n - 7), statistics_of(b)) == pytest.approx(oracle, rel=1e-6)


def test_equal_sets_are_at_no_distance():
    same = statistics_of(random_features(50, 4))
    assert 0 <= frechet_between(same, same) < 1e-9


def test_other_networks_statistics_are_not_compared():
    with pytest.raises(DataError, match=r"^statistics of 4 and of 6 features .* different networks"):
        frechet_between(statistics_of(random_features(50, 4)), statistics_of(random_features(50, 6)))


def test_statistics_are_held_as_float64():
    held = Statistics(torch.zeros(2, dtype=torch.float32, requires_grad=True), torch.eye(2).half())
    assert held.mean_F.dtype == held.covariance_FF.dtype == torch.float64
    assert not held.mean_F.requires_grad
    assert (held.n, held.n_features) == (None, 2)


LOPSIDED = torch.eye(3)
LOPSIDED[0, 1] = 1e-3


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (torch.zeros(3), torch.full((3, 3), torch.nan), r"^9 of the 9 numbers of the covariance are nan"),
        (torch.tensor([0, torch.inf, 0]), torch.eye(3), r"^1 of the 3 numbers of the mean are nan"),
        (torch.zeros(3), torch.eye(4), r"shape \(3,\) and a covariance of shape \(4, 4\) do not belong"),
        (torch.zeros(1, 3), torch.eye(3), "do not belong together"),
        (torch.zeros(0), torch.zeros(0, 0), "do not belong together"),
        (torch.zeros(3), LOPSIDED, "^the covariance is not symmetric"),
        (torch.zeros(3), -torch.eye(3), "negative variance"),
    ],
)
def test_what_is_no_statistics_is_refused(mean, covariance, message):
    with pytest.raises(DataError, match=message) as told:
        Statistics(mean, covariance)
    assert "\n" not in str(told.value)


def indefinite(largest=5.0):
    """Of variances above zero, and correlations beyond one."""
    return Statistics(torch.zeros(2), torch.tensor([[1e-3, largest], [largest, 1e-3]]))


def test_a_covariance_that_no_features_have():
    with pytest.raises(
        DataError, match=r"not positive semi-definite \(its eigenvalues go from -5 to 5\), so"
    ) as told:
        indefinite().check_semidefinite()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fewer_images_than_features_leave_eigenvalues_about_zero(dtype):
    few = random_features(10, 40)
    covariance = statistics_of(few).covariance_FF.to(dtype)
    assert torch.linalg.eigvalsh(covariance.double()).min() < 0, "or nothing is shown"
    Statistics(few.mean(0), covariance).check_semidefinite()
    Statistics(torch.zeros(3), torch.zeros(3, 3)).check_semidefinite()


EYE = torch.eye(4, dtype=torch.float64)


@pytest.mark.parametrize(
    ("mean", "covariance", "others"),
    [
        (1e200 * EYE[0], EYE, EYE),  # the square of the means' difference overflows
        (0 * EYE[0], 1e200 * EYE, 1e200 * EYE),  # the product of the covariances does
        (0 * EYE[0], torch.full_like(EYE, 1e308), EYE),  # their sum does
    ],
)
def test_a_distance_beyond_float64_is_refused(mean, covariance, others):
    pair = Statistics(mean, covariance), Statistics(0 * mean, others)
    for a, b in (pair, pair[::-1]):
        with pytest.raises(
            DataError, match=r"^the Frechet distance is not finite, .* as large as 1e\+"
        ) as told:
            frechet_between(a, b)
        assert "\n" not in str(told.value)


def test_rounding_may_leave_the_covariance_a_little_lopsided():
    rounded = torch.eye(3)
    rounded[0, 1] = 1e-7
    assert Statistics(torch.zeros(3), rounded).n_features == 3


def test_features_that_are_not_finite():
    broken = torch.zeros(10, 3)
    broken[4, 1], broken[7] = torch.nan, torch.inf
    with pytest.raises(DataError, match=r"^the features of 2 in 10 images are not finite"):
        Moments().add(broken)


def test_moments_need_two_images_of_one_width():
    moments = Moments()
    moments.add(torch.zeros(0, 3))
    moments.add(torch.zeros(1, 3))
    with pytest.raises(DataError, match="at least 2 images, and there are 1"):
        moments.statistics()
    with pytest.raises(ValueError, match="width 4 after features of width 3"):
        moments.add(torch.zeros(1, 4))
