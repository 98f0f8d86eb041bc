"""torch-fidelity's figures against an independent computation, and what may not enter them."""

import attrs
import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.special import log_softmax
from torch.utils.data import Dataset as TorchDataset
from torch_fidelity import calculate_metrics

from ardistill.errors import DataError
from ardistill.evaluation import fidelity as module
from ardistill.evaluation.extraction import Features, features_of, network_digest, register, to_uint8
from ardistill.evaluation.fidelity import compare, fidelity, frechet
from ardistill.evaluation.statistics import Statistics
from tests.evaluation.fakes import FakeFeatures

RNG = np.random.default_rng(3)


def features(n, n_features, shift=0.0, scale=1.0, n_classes=5):
    mixing = np.random.default_rng(n_features).normal(size=(n_features, n_features))
    values = RNG.normal(size=(n, n_features)) @ mixing * scale + shift
    return Features(torch.from_numpy(values), torch.from_numpy(2 * RNG.normal(size=(n, n_classes))))


def oracle_fid(a, b):
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * np.real(sqrtm(cov_a @ cov_b)))


def oracle_covered(points, by):
    """The share of `points` inside the ball around some point of `by` that reaches its third neighbour."""
    radius = np.sort(cdist(by, by), axis=1)[:, 3]
    return (cdist(points, by) <= radius).any(1).mean()


def oracle_kid(a, b, subsets, size=1000):
    """The unbiased estimate of MMD^2 with the kernel (x.y / F + 1)^3, mean and spread over random subsets."""
    choose, found = np.random.RandomState(2020), []
    for _ in range(subsets):
        x = a[choose.choice(len(a), size, replace=False)]
        y = b[choose.choice(len(b), size, replace=False)]
        k_xx, k_yy, k_xy = ((p @ q.T / p.shape[1] + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
        within = sum((k.sum() - np.trace(k)) / (size * (size - 1)) for k in (k_xx, k_yy))
        found.append(within - 2 * k_xy.mean())
    return np.mean(found), np.std(found)


def oracle_is(logits):
    logits = logits[np.random.RandomState(2020).permutation(len(logits))]
    scores = []
    for part in np.array_split(logits, 10):
        log_p = log_softmax(part, axis=1)
        p = np.exp(log_p)
        scores.append(np.exp((p * (log_p - np.log(p.mean(0)))).sum(1).mean()))
    return np.mean(scores)


@pytest.mark.parametrize(("n", "n_reference", "block"), [(300, 300, 10**6), (1510, 1220, 8 * 1510 * 400)])
def test_agrees_with_numpy_and_scipy(n, n_reference, block, monkeypatch):
    monkeypatch.setattr(module, "DISTANCE_BYTES", block)
    samples, reference = features(n, 8, shift=0.7, scale=0.8), features(n_reference, 8)
    a, b = samples.features_NF.numpy(), reference.features_NF.numpy()
    ours = compare(samples, reference, kid_subsets=2)
    assert ours.fid == pytest.approx(oracle_fid(a, b), rel=1e-6)
    assert ours.precision == pytest.approx(oracle_covered(a, b), rel=1e-6)
    assert ours.recall == pytest.approx(oracle_covered(b, a), rel=1e-6)
    assert ours.precision > ours.recall + 0.05, (
        "the narrower set must be precise: otherwise the two are swapped"
    )
    assert compare(features(400, 8), reference, kid_subsets=2).isc != ours.isc


def test_inception_score_agrees():
    samples = features(400, 4)
    ours = compare(samples, features(400, 4), kid_subsets=2).isc
    assert ours == pytest.approx(oracle_is(samples.logits_NZ.numpy()), rel=1e-6)


@pytest.mark.parametrize(("n", "n_reference", "size"), [(120, 150, 120), (1100, 1300, 1000)])
def test_kernel_distance_agrees(n, n_reference, size):
    samples, reference = features(n, 6, shift=0.5), features(n_reference, 6)
    ours = compare(samples, reference, kid_subsets=4)
    mean, std = oracle_kid(samples.features_NF.numpy(), reference.features_NF.numpy(), 4, size)
    assert (ours.kid, ours.kid_std) == pytest.approx((mean, std), rel=1e-6)
    assert compare(samples, reference, kid_subsets=5).kid != ours.kid


def test_the_kernel_distance_of_few_images_has_no_spread():
    samples, reference = features(100, 6), features(100, 6)
    ours = compare(samples, reference, kid_subsets=4)
    mean, _ = oracle_kid(samples.features_NF.numpy(), reference.features_NF.numpy(), 1, 100)
    assert ours.kid == pytest.approx(mean, rel=1e-6)
    assert ours.kid_std is None


def test_a_reference_of_statistics_alone_gives_the_frechet_distance_alone():
    @attrs.frozen(eq=False)
    class FromFile:
        statistics: Statistics
        features_NF: None = None

    samples, reference = features(60, 4), features(80, 4)
    known = compare(samples, reference, kid_subsets=2)
    alone = compare(samples, FromFile(reference.statistics), kid_subsets=2)
    assert alone == attrs.evolve(known, **dict.fromkeys(("kid", "kid_std", "precision", "recall")))


def test_a_network_without_classes_has_no_inception_score():
    samples = features(60, 4)
    nothing = Features(samples.features_NF, samples.logits_NZ[:, :0])
    known = compare(samples, samples, kid_subsets=2)
    assert compare(nothing, samples, kid_subsets=2) == attrs.evolve(known, isc=None)


def test_a_networks_digest_is_of_its_weights():
    networks = [torch.nn.Linear(2, 2) for _ in range(2)]
    for network in networks:
        network.name = "linear"
    one, other = map(network_digest, networks)
    assert one != other
    networks[1].load_state_dict(networks[0].state_dict())
    assert network_digest(networks[1]) == one
    assert network_digest(FakeFeatures()) == network_digest(FakeFeatures())


def test_float32_features_are_averaged_in_float64():
    one = torch.full((20_000, 2), 1000.0) + torch.from_numpy(RNG.normal(size=(20_000, 2))).float()
    exact = one.double().mean(0).numpy()
    assert Features(one, one).statistics.mean_F.numpy() == pytest.approx(exact, rel=1e-14)


def test_a_set_is_at_no_distance_from_itself():
    same = features(100, 4)
    assert 0 <= frechet(same, same) < 1e-9


def test_from_images_is_what_torch_fidelity_itself_gives():
    class Images(TorchDataset):
        def __init__(self, images):
            self.images = to_uint8(images)

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return self.images[index]

    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(120, 1, 4, 4, generator=generator) * 2 - 1
    reference = torch.randn(150, 1, 4, 4, generator=generator).clamp(-1, 1)
    network = FakeFeatures()
    theirs = calculate_metrics(
        input1=Images(samples),
        input2=Images(reference),
        feature_extractor=register(network),
        cuda=False,
        fid=True,
        isc=True,
        kid=True,
        kid_subset_size=120,
        prc=True,
        verbose=False,
        save_cpu_ram=True,
    )
    ours = fidelity(network, samples, features_of(network, reference, batch=37))
    assert attrs.astuple(ours) == pytest.approx(
        attrs.astuple(fidelity(network, samples, reference)), rel=1e-6
    )
    assert ours.fid == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    assert ours.isc == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert ours.kid == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours.precision == pytest.approx(theirs["precision"])
    assert ours.recall == pytest.approx(theirs["recall"])


def test_says_nothing_and_leaves_the_global_generators_alone(capfd):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    images = RNG.normal(size=(60, 1, 4, 4)).astype("float32")
    fidelity(FakeFeatures(), torch.from_numpy(images), torch.from_numpy(images[::-1].copy()))
    assert capfd.readouterr() == ("", "")
    assert torch.get_rng_state().equal(torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_bytes():
    ends = torch.tensor([[-1.2, -1.0, -1 + 0.6 / 127.5, 0.0, 1.0, 3.0]])
    assert to_uint8(ends).tolist() == [[0, 0, 1, 128, 255, 255]]
    with pytest.raises(DataError, match=r"^1 in 2 images hold nan"):
        to_uint8(torch.tensor([[0.0, 0.0], [0.0, torch.nan]]))


def test_the_network_sees_the_images_to_within_half_a_byte():
    class Spy(FakeFeatures):
        def __call__(self, images):
            self.seen = images
            return super().__call__(images)

    images = torch.linspace(-1, 1, 64).reshape(4, 1, 4, 4)
    spy = Spy()
    features_of(spy, images)
    torch.testing.assert_close(spy.seen, images, rtol=0, atol=0.5001 / 127.5)
    assert spy.seen.aminmax() == (-1, 1)


def test_the_network_registered_last_is_the_one_used():
    class Other(FakeFeatures):
        def __call__(self, images):
            found, logits = super().__call__(images)
            return found + 1, logits

    images = torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4)
    before = features_of(FakeFeatures(), images)
    after = features_of(Other(), images)
    assert torch.allclose(after.features_NF, before.features_NF + 1)


@pytest.mark.parametrize("n", [3, 8])
def test_too_few_images(n):
    with pytest.raises(
        DataError, match=rf"^the samples number {n}, .* 8 features need at least 11; ask for more$"
    ):
        compare(features(n, 8), features(100, 8))
    with pytest.raises(DataError, match=r"^the reference images number"):
        compare(features(100, 8), features(n, 8))
    assert module.check_enough(11, 8, "the samples") is None
    with pytest.raises(DataError):
        module.check_enough(20, 20, "the samples")


def test_features_that_are_not_finite():
    broken = torch.zeros(10, 3)
    broken[4, 1] = torch.nan
    broken[7] = torch.inf
    with pytest.raises(DataError, match="features of 2 in 10 images are not finite"):
        Features(broken, torch.zeros(10, 2))
    with pytest.raises(DataError, match="logits of 2 in 10 images"):
        Features(torch.zeros(10, 2), broken)
