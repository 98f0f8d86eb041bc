"""Pairs of digits as data, what judges them, and the recipe of their weights."""

import hashlib
from pathlib import Path

import pytest
import torch
from ardistill_digits.data import Digits, folder_finder
from ardistill_digits.features import SumFeatures, load_features, load_sum_features
from ardistill_digits.quality import shuffled_halves
from ardistill_digits.sums import PREFIX, DigitSums
from ardistill_digits.sums_config import SumsRecipe
from ardistill_var.loading import load_teacher
from ardistill_var.settings import VARTeacherSettings

from ardistill.__main__ import main
from ardistill.config import structure_words
from ardistill.noise import Draw
from ardistill.protocols import Dataset, FeatureNetwork, Split

DATA = DigitSums()


def draw(start: int, count: int, seed: int = 0) -> Draw:
    return Draw(seed, "test", start, count)


@pytest.fixture(scope="module")
def network() -> SumFeatures:
    return load_sum_features(DATA.weights)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("given", [False, True])
def test_the_label_is_the_sum(split: Split, given: bool) -> None:
    data: Dataset = DATA
    wanted = torch.arange(2000) % 10 if given else None
    images, labels = data.images(split, draw(0, 2000), wanted)
    assert images.shape == (2000, *data.image_shape)
    assert images.dtype == torch.float32
    assert images.min() == -1
    assert 0.9 < images.max() <= 1
    if wanted is not None:
        assert torch.equal(labels, wanted)
    judge = load_features(Digits().weights)
    left, right = (judge(half)[1].argmax(1) for half in images.chunk(2, dim=3))
    assert float(((left + right) % 10 == labels).float().mean()) > 0.97
    counts = torch.zeros(10, 10).index_put_((left, labels), torch.ones(2000), accumulate=True)
    assert counts.min() > 5  # of 20: either digit alone says nothing of the sum
    counts = torch.zeros(10, 10).index_put_((right, labels), torch.ones(2000), accumulate=True)
    assert counts.min() > 5


def test_the_halves_are_drawn_apart() -> None:
    images, _ = DATA.images("train", draw(0, 500))
    left, right = images.chunk(2, dim=3)
    assert not any(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    alone, _ = Digits().images("train", draw(0, 500))
    assert not torch.equal(left, alone)


def test_an_image_depends_on_its_own_index_alone() -> None:
    for given in (None, torch.arange(40) % 10):
        whole, labels = DATA.images("train", draw(0, 40), given)
        for start, count in ((0, 7), (7, 1), (8, 32)):
            rows = slice(start, start + count)
            part, part_labels = DATA.images(
                "train", draw(start, count), None if given is None else given[rows]
            )
            torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-6)
            assert torch.equal(part_labels, labels[rows])
    assert not torch.equal(DATA.images("train", draw(0, 40, seed=1))[0], DATA.images("train", draw(0, 40))[0])


def test_the_judge_sums_over_all_pairs_of_digits(network: SumFeatures) -> None:
    protocol: FeatureNetwork = network
    images, _ = DATA.images("test", draw(0, 50))
    features, logits = protocol(images)
    assert features.shape == (50, protocol.n_features)
    halves = [network.network(half) for half in images.chunk(2, dim=3)]
    assert torch.equal(features, torch.cat([halves[0][0], halves[1][0]], dim=1))
    left, right = (half[1].double().softmax(1) for half in halves)
    want = torch.zeros(50, 10, dtype=torch.float64)
    for a in range(10):
        for b in range(10):
            want[:, (a + b) % 10] += left[:, a] * right[:, b]
    torch.testing.assert_close(logits.double().exp(), want, atol=1e-5, rtol=1e-4)


def test_the_judge_knows_pairs_it_never_saw(network: SumFeatures) -> None:
    images, labels = DATA.images("test", draw(0, 2000), torch.arange(2000) % 10)
    assert float((network(images)[1].argmax(1) == labels).float().mean()) > 0.97
    shuffled = shuffled_halves(images, 10)
    assert shuffled.shape == (1990, 3, 16, 32)
    assert abs(float((network(shuffled)[1].argmax(1) == labels[10:]).float().mean()) - 0.1) < 0.03


TINY = ["tokenizer.images=640", "teacher.images=256", "teacher.copies=1", "teacher.prefix_images=512"]


def made(folder: Path, *words: str) -> dict[str, str]:
    assert main(["pretrain", "digit-sums", f"out={folder}", *TINY, *words]) == 0
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
def test_the_recipe_makes_loadable_files_and_the_same_again(tmp_path: Path) -> None:
    first = made(tmp_path / "a")
    assert sorted(first) == ["sums-var-teacher.safetensors", "sums-var-tokenizer.safetensors"]
    teacher = load_teacher(VARTeacherSettings(), folder_finder(tmp_path / "a", PREFIX))
    assert teacher.layout.sizes == (1, 1, 8, 32)
    assert teacher.tokenizer.image_shape == DATA.image_shape
    assert abs(float(teacher.tokenizer.codebook.std()) - 1) < 1e-4
    assert made(tmp_path / "b", "part=tokenizer").items() < first.items()
    assert made(tmp_path / "b", "part=teacher") == first
    assert made(tmp_path / "b", "part=teacher", "seed=1") != first


def test_quick_is_small() -> None:
    quick, full = structure_words(["quick=true"], SumsRecipe), SumsRecipe()
    assert quick.tokenizer.images < full.tokenizer.images / 10
    assert quick.teacher.images < full.teacher.images / 10
    assert quick.teacher.prefix_images < full.teacher.prefix_images / 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["part=teacher"], "part=all"),
        (["part=features"], "tokenizer"),
        (["teacher.scale_weights="], "scale_weights"),
    ],
)
def test_bad_words_are_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", "digit-sums", f"out={tmp_path}", *words]) == 2
    assert said in capsys.readouterr().err
