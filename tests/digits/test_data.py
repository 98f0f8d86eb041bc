import numpy as np
import pytest
import torch
from ardistill_digits.data import HOME, Digits, scans
from ardistill_digits.features import load_features
from sklearn.datasets import load_digits

from ardistill.noise import Draw
from ardistill.protocols import Dataset, Split


def draw(start: int, count: int, seed: int = 0) -> Draw:
    return Draw(seed, "test", start, count)


def test_the_bundled_scans_are_the_original_ones() -> None:
    original = load_digits()
    with np.load(HOME / "digits.npz", allow_pickle=False) as file:
        assert (file["images"] == original.images).all()
        assert (file["labels"] == original.target).all()


def test_the_splits_share_nothing_and_hold_everything() -> None:
    (train, train_labels), (test, test_labels) = scans("train"), scans("test")
    assert (len(train), len(test)) == (1442, 355)
    rows = {split.numpy().tobytes() for split in torch.cat([train, test])}
    assert len(rows) == 1797  # no scan occurs twice, so disjoint as images as well
    assert torch.bincount(test_labels).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    assert torch.bincount(train_labels).min() >= 139


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_have_the_stated_shape_and_range(split: Split) -> None:
    data = Digits()
    images, labels = data.images(split, draw(0, 64))
    assert images.shape == (64, *data.image_shape)
    assert images.dtype == torch.float32
    assert images.min() == -1
    assert 0.9 < images.max() <= 1
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    assert labels.shape == (64,)
    assert set(labels.tolist()) == set(range(10))


def test_an_image_depends_on_its_own_index_alone() -> None:
    data = Digits()
    whole, labels = data.images("train", draw(0, 40))
    for start, count in ((0, 7), (7, 1), (8, 32)):
        part, part_labels = data.images("train", draw(start, count))
        # Convolution-free rendering, yet sums of a batch may be vectorised differently at its end.
        torch.testing.assert_close(part, whole[start : start + count], rtol=0, atol=1e-6)
        assert torch.equal(part_labels, labels[start : start + count])
    assert not torch.equal(data.images("train", draw(0, 40, seed=1))[0], whole)


def test_warps_move_the_strokes_but_keep_the_digit() -> None:
    plain, labels = Digits().plain("test")
    assert plain.shape == (355, 3, 16, 16)
    ink = (plain[:, 0] + 1).sum((1, 2))
    warped, warped_labels = Digits().images("test", draw(0, 355))
    assert torch.bincount(labels).tolist() == torch.bincount(scans("test")[1]).tolist()
    assert abs((warped[:, 0] + 1).sum((1, 2)).mean() / ink.mean() - 1) < 0.05
    border = torch.cat([warped[:, 0, 0], warped[:, 0, -1]])
    assert (border > 0).float().mean() < 0.2  # the margin keeps most strokes off the border
    assert len(warped_labels) == 355


def test_digits_is_a_dataset() -> None:
    data: Dataset = Digits()
    assert data.n_classes == 10
    assert data.weights("no/such") is None


def test_images_of_given_classes_are_of_those_classes() -> None:
    data = Digits()
    given = torch.arange(3000) % 10
    images, labels = data.images("test", draw(0, 3000), given)
    assert torch.equal(labels, given)
    network = load_features(data.weights)
    assert float((network(images)[1].argmax(1) == given).float().mean()) > 0.97
    part, _ = data.images("test", draw(1000, 50), given[1000:1050])
    torch.testing.assert_close(part, images[1000:1050])
