"""The perceptual path length against closed forms, and what may not enter it."""

import random

import numpy as np
import pytest
import torch
from ardistill_digits.data import Digits
from ardistill_digits.features import load_features
from scipy.stats import chi2
from torch_fidelity import registry

from ardistill.config import structure_words
from ardistill.config.path_length import PathLengthConfig
from ardistill.errors import ConfigError, DataError
from ardistill.evaluation import path_length as module
from ardistill.evaluation.path_length import PathLength, path_length, trimmed
from ardistill.perceptual import perceptual
from ardistill.weights import write_weights
from tests.evaluation.backbones import backbone, by_hand

L, C, CLASSES = 3, 4, 5
MIXING = torch.from_numpy(np.random.default_rng(1).normal(size=(L * C, 3 * 4 * 4)))


def square(made_BCHW, target_BCHW):
    return (made_BCHW - target_BCHW).double().square().flatten(1).sum(1)


class Linear:
    """Images A z, and what it was asked for."""

    def __init__(self, mixing=MIXING, size=4):
        self.mixing, self.size, self.noise, self.labels = mixing, size, [], []

    def __call__(self, noise_BLC, labels_B):
        self.noise.append(noise_BLC)
        self.labels.append(labels_B)
        return (noise_BLC.flatten(1).to(self.mixing) @ self.mixing).reshape(-1, 3, self.size, self.size)

    def ends(self):
        """The noises (N, L * C) of every pair, as float64."""
        halves = [noise.flatten(1).double().chunk(2) for noise in self.noise]
        return torch.cat([first for first, _ in halves]), torch.cat([second for _, second in halves])


def measured(images=None, distance=square, n=40, batch=16, seed=0, epsilon=1e-4, **options):
    images = images or Linear()
    return path_length(
        images, (L, C), CLASSES, distance, n=n, batch=batch, seed=seed, epsilon=epsilon, **options
    )


def test_it_equals_the_same_pairs_in_numpy():
    generator = Linear()
    got = measured(generator, n=700, batch=64)
    first, second = generator.ends()
    lengths = np.sort((((second - first) @ MIXING) ** 2).sum(1).numpy() / 1e-8)
    kept = lengths[int(np.floor(0.01 * 699)) : int(np.ceil(0.99 * 699)) + 1]
    assert len(lengths) == 700
    assert got == PathLength(pytest.approx(kept.mean(), rel=1e-9), pytest.approx(kept.std(), rel=1e-9), 700)


def test_an_isometry_has_the_lengths_that_theory_gives():
    """|z' - z|^2 is then 2 chi^2, here with 12 degrees of freedom; E[X; X < q] = k F_(k+2)(q)."""
    basis = torch.linalg.qr(MIXING.T)[0].T
    got, k, n = measured(Linear(basis), n=4000, batch=1000), L * C, 4000
    low, high = chi2.ppf([0.01, 0.99], k)
    mean = 2 * k * (chi2.cdf(high, k + 2) - chi2.cdf(low, k + 2)) / 0.98
    square = 4 * k * (k + 2) * (chi2.cdf(high, k + 4) - chi2.cdf(low, k + 4)) / 0.98
    std = np.sqrt(square - mean**2)
    assert abs(got.mean - mean) < 4 * std / np.sqrt(n)
    assert got.std == pytest.approx(std, rel=0.05)


def test_a_pair_is_epsilon_of_the_way_from_one_gaussian_noise_to_another():
    generator = Linear()
    measured(generator, n=600, batch=200, epsilon=0.5)
    assert {noise.shape for noise in generator.noise} == {(200, L, C), (112, L, C), (176, L, C)}
    first, second = generator.ends()
    far = first + (second - first) / 0.5
    joint = torch.cat([first, far], dim=1)
    covariance = torch.cov(joint.T)
    assert covariance.sub(torch.eye(2 * L * C)).abs().max() < 0.25  # 5 standard errors and more
    assert joint.mean(0).abs().max() < 0.2
    assert len(first.unique(dim=0)) == 600, "blocks of pairs have noises of their own"


@pytest.mark.parametrize("batch", [1, 2, 7, 64, 1000])
def test_the_batch_does_not_matter_and_is_never_exceeded(batch):
    generator = Linear()
    got, want = measured(generator, n=300, batch=batch), measured(n=300, batch=30)
    assert got.mean == pytest.approx(want.mean, rel=1e-9)
    assert got.std == pytest.approx(want.std, rel=1e-9)
    assert max(len(noise) for noise in generator.noise) <= max(2, batch)


def test_the_seed_and_nothing_else_decides():
    assert measured(seed=3) == measured(seed=3)
    assert measured(seed=3) != measured(seed=4)
    assert measured(seed=2**63 - 1).mean > 0


def test_both_ends_show_one_class_and_all_classes_are_shown():
    linear = Linear()

    def by_class(noise_BLC, labels_B):
        return linear(noise_BLC, labels_B) + 100 * labels_B.reshape(-1, 1, 1, 1)

    assert measured(by_class, n=100).mean == pytest.approx(measured(n=100).mean, rel=1e-9)
    assert torch.cat(linear.labels).unique().tolist() == list(range(CLASSES))


@pytest.mark.parametrize("epsilon", [1e-3, 1e-2])
def test_a_slope_has_one_length_whatever_epsilon(epsilon):
    assert measured(epsilon=epsilon).mean == pytest.approx(measured(epsilon=1e-4).mean, rel=1e-3)


def steps(noise_BLC, labels_B):
    """A student that snaps every number to one of two codes."""
    return noise_BLC.sign().reshape(-1, 3, 2, 2)


def test_the_length_of_steps_grows_as_epsilon_falls_until_too_few_pairs_jump():
    coarse, fine = (measured(steps, n=2000, batch=500, epsilon=epsilon).mean for epsilon in (2e-2, 5e-3))
    assert 2.5 < fine / coarse < 5
    assert measured(steps, n=2000, batch=500, epsilon=1e-5).mean == 0


@pytest.mark.parametrize("n", [1, 2, 50, 101, 1234])
def test_trimming_drops_what_lies_outside_two_values_that_occur(n):
    lengths = np.random.default_rng(n).lognormal(size=n)
    ranks = np.sort(lengths)[int(np.floor(0.01 * (n - 1))) : int(np.ceil(0.99 * (n - 1))) + 1]
    assert np.array_equal(np.sort(trimmed(lengths)), ranks)


def test_nothing_is_printed_drawn_or_left_behind(capfd):
    def states():
        return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002

    before, known = states(), dict(registry.SAMPLE_SIMILARITY_REGISTRY)
    measured()
    with pytest.raises(ZeroDivisionError):
        measured(distance=lambda made_BCHW, target_BCHW: 1 / 0)
    assert states() == before
    assert known == registry.SAMPLE_SIMILARITY_REGISTRY
    assert capfd.readouterr() == ("", "")


def test_a_distance_that_was_left_registered_gives_way(monkeypatch):
    stale = registry.SAMPLE_SIMILARITY_REGISTRY["lpips-vgg16"]
    monkeypatch.setitem(registry.SAMPLE_SIMILARITY_REGISTRY, module._NAME, stale)
    assert measured() == measured()
    doubled = measured(distance=lambda made_BCHW, target_BCHW: 2 * square(made_BCHW, target_BCHW))
    assert doubled.mean == pytest.approx(2 * measured().mean, rel=1e-12)


def test_convolutions_run_in_full_precision_meanwhile():
    linear, seen = Linear(), []

    def watched(noise_BLC, labels_B):
        seen.append(torch.backends.cudnn.allow_tf32)
        return linear(noise_BLC, labels_B)

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        measured(watched)
        assert torch.backends.cudnn.allow_tf32
    assert set(seen) == {False}


def test_large_images_are_compared_some_at_a_time(monkeypatch):
    rows = []

    def watched(made_BCHW, target_BCHW):
        rows.append(len(made_BCHW))
        return square(made_BCHW, target_BCHW)

    whole = measured(distance=watched)
    assert max(rows) == 8
    rows.clear()
    monkeypatch.setattr(module, "PIXELS", 3 * 4 * 4)
    assert measured(distance=watched) == whole
    assert max(rows) == 3


def test_it_is_told_how_far_it_is():
    told = []
    measured(n=300, advance=lambda done, total: told.append((done, total)))
    assert told == [(256, 300), (300, 300)]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_distances_that_are_not_finite_are_refused(bad):
    def distance(made_BCHW, target_BCHW):
        return square(made_BCHW, target_BCHW).index_fill(0, torch.tensor([0]), bad)

    with pytest.raises(DataError, match=r"^1 in 8 distances .* not finite.*eval\.ppl\.net$"):
        measured(distance=distance)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float16])
def test_coarse_images_are_refused(dtype):
    with pytest.raises(DataError, match=r"^images in torch\.\w+ are too coarse .* 0.0001; .* in float32$"):
        measured(lambda noise_BLC, labels_B: Linear()(noise_BLC, labels_B).to(dtype))


def test_without_classes_there_is_no_path():
    with pytest.raises(ConfigError, match=r"stays within a class.*leave out eval\.ppl\.n$"):
        path_length(Linear(), (L, C), 0, square, n=4, batch=4, seed=0)


def test_with_vgg_it_is_the_packages_lpips_over_epsilon_squared(tmp_path):
    state = backbone("vgg")
    write_weights(tmp_path / "vgg.safetensors", state, {})
    distance = perceptual("vgg", tmp_path / "vgg.safetensors", None, "cpu", option="eval.ppl")
    (tmp_path / "vgg.safetensors").unlink()
    mixing = torch.from_numpy(np.random.default_rng(2).normal(0, 0.1, size=(L * C, 3 * 32 * 32))).float()
    generator = Linear(mixing, size=32)
    got = measured(generator, distance, n=1, batch=2, epsilon=1e-2)
    (noise_BLC,) = generator.noise
    made, target = generator(noise_BLC, None).chunk(2)
    want = by_hand("vgg", state)(made, target).item() / 1e-4
    assert want > 0
    assert got == PathLength(pytest.approx(want, rel=1e-4), 0.0, 1)


def test_float32_resolves_a_ten_thousandth_in_the_digits_own_network():
    distance = perceptual("features", None, load_features(Digits().weights), "cpu", option="eval.ppl")
    mixing = torch.from_numpy(np.random.default_rng(3).normal(0, 0.3, size=(L * C, 3 * 16 * 16))).float()

    def images(noise_BLC, labels_B):
        return (noise_BLC.flatten(1) @ mixing).tanh().reshape(-1, 3, 16, 16)

    fine, coarse = (measured(images, distance, n=64, batch=64, epsilon=epsilon) for epsilon in (1e-4, 1e-3))
    assert fine.mean == pytest.approx(coarse.mean, rel=0.02)


def test_the_words_of_the_configuration():
    words = structure_words(["n=1000", "net=vgg", "weights=vgg16.pth"], PathLengthConfig)
    assert (words.n, words.epsilon, words.net, str(words.weights)) == (1000, 1e-4, "vgg", "vgg16.pth")
    assert PathLengthConfig().n == 0
    assert PathLengthConfig().net is None
    with pytest.raises(ConfigError, match="net=features takes the data's own network"):
        structure_words(["net=features", "weights=vgg16.pth"], PathLengthConfig)
    for bad in (["n=-1"], ["epsilon=0"], ["epsilon=1e-7"], ["epsilon=2"], ["net=resnet"]):
        with pytest.raises(ConfigError):
            structure_words(bad, PathLengthConfig)
