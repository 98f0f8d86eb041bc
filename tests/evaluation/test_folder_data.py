"""data=folder: which image a draw gives; data=classes: classes without images."""

import hashlib
from pathlib import Path

import ardistill_folder
import attrs
import numpy as np
import pytest
import torch
from ardistill_digits.data import Digits
from ardistill_digits.sums import DigitSums
from ardistill_folder.classes import classes
from ardistill_folder.config import ClassesConfig, FolderConfig
from ardistill_folder.data import folder
from PIL import Image
from torchvision.datasets import ImageFolder

from ardistill.errors import DataError
from ardistill.noise import Draw
from ardistill.protocols import Dataset
from tests.logged import logged

COUNTS = {"cat": 7, "ant": 3, "bee": 20}


def draw(count=40, start=0, seed=0):
    return Draw(seed, "test", start, count)


def animals(path, counts=COUNTS, seed=0):
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (path / name).mkdir(parents=True)
        for index in range(count):
            image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(image).save(path / name / f"{index:02}.png")
    return path


def data(path, **settings):
    return folder(FolderConfig(path=path, size=8, **settings))


def as_images(paths):
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels).float() / 127.5 - 1


def test_images_and_labels_are_the_folders(tmp_path):
    dataset: Dataset = data(animals(tmp_path))
    assert (dataset.n_classes, dataset.image_shape) == (3, (3, 8, 8))
    assert (dataset.features, dataset.splits, dataset.weights("features")) == ("inception", ("train",), None)
    images, labels = dataset.images("train", draw())
    assert images.shape == (40, 3, 8, 8)
    assert images.dtype == torch.float32
    theirs = ImageFolder(tmp_path)
    known = {
        image.numpy().tobytes(): label
        for image, (_, label) in zip(
            as_images([path for path, _ in theirs.samples]), theirs.samples, strict=True
        )
    }
    assert [known[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_without_labels_images_come_in_the_datas_own_proportions(tmp_path):
    _, labels = data(animals(tmp_path)).images("train", draw(3000))
    assert torch.bincount(labels).div(3000).tolist() == pytest.approx([3 / 30, 20 / 30, 7 / 30], abs=0.03)


def test_with_labels_every_image_of_a_class_has_its_turn(tmp_path):
    dataset = data(animals(tmp_path))
    wanted = torch.arange(300) % 3
    images, labels = dataset.images("train", draw(300), wanted)
    assert torch.equal(labels, wanted)
    for label, count in enumerate((3, 20, 7)):
        assert len({image.numpy().tobytes() for image in images[labels == label]}) == count


@pytest.mark.parametrize("labelled", [False, True])
def test_an_image_depends_on_its_own_index_alone(tmp_path, labelled):
    dataset = data(animals(tmp_path))
    wanted = torch.arange(40) % 3 if labelled else None
    whole, labels = dataset.images("train", draw(), wanted)
    for start, count in ((0, 7), (7, 1), (8, 32)):
        part, part_labels = dataset.images(
            "train", draw(count, start), None if wanted is None else wanted[start : start + count]
        )
        assert torch.equal(part, whole[start : start + count])
        assert torch.equal(part_labels, labels[start : start + count])
    assert not torch.equal(dataset.images("train", draw(seed=1), wanted)[0], whole)


def test_held_out_images_are_the_test_split(tmp_path):
    train, held_out = animals(tmp_path / "train"), animals(tmp_path / "val", dict.fromkeys(COUNTS, 2), seed=1)
    dataset = data(train, held_out=held_out)
    assert dataset.splits == ("train", "test")
    images, labels = dataset.images("test", draw())
    known = as_images(sorted(held_out.rglob("*.png")))
    assert all((known == image).flatten(1).all(1).any() for image in images)
    assert set(labels.tolist()) == {0, 1, 2}
    with pytest.raises(
        DataError, match=r"^data=folder has no test images; give their folder with data.held_out"
    ):
        data(train).images("test", draw())
    (held_out / "dog").mkdir()
    with pytest.raises(DataError, match="have to hold the same classes, and 'dog' is in one alone"):
        data(train, held_out=held_out)


def test_the_digest_tells_data_apart(tmp_path):
    train, same, other = (animals(tmp_path / name) for name in ("train", "same", "other"))
    first = data(train).sha256
    assert first == data(same).sha256
    assert len(first) == 64
    assert first != data(train, held_out=same).sha256
    assert first != folder(FolderConfig(path=train, size=4)).sha256
    with (other / "bee" / "03.png").open("ab") as file:
        file.write(b"\0")
    assert data(other).sha256 != first
    (same / "bee" / "03.png").rename(same / "bee" / "03b.png")
    assert data(same).sha256 != first


def test_an_unfit_image_gives_way_to_the_next_of_its_class(tmp_path):
    dataset = data(animals(tmp_path))
    images, labels = dataset.images("train", draw(200), torch.full((200,), 0))
    ants = as_images(sorted((tmp_path / "ant").iterdir()))
    which = [int((ants == image).flatten(1).all(1).nonzero()) for image in images]
    Image.new("L", (8, 8)).save(tmp_path / "ant" / "02.png")
    dataset = data(tmp_path)
    with logged(r"1 of 30 images are unfit \(1 grey; first: ant/02.png\); such") as told:
        again, again_labels = dataset.images("train", draw(200), labels)
    assert len(told) == 1
    assert torch.equal(again_labels, labels)
    assert torch.equal(again, ants[[0 if index == 2 else index for index in which]])
    dataset.images("train", draw(200), labels)  # it is told once
    Image.new("L", (8, 8)).save(tmp_path / "ant" / "01.png")
    with (
        logged(),
        pytest.raises(DataError, match=r"2 of 30 images are unfit .* at most 5% may"),
    ):
        data(tmp_path).images("train", draw(200), labels)


def test_a_class_without_an_image_that_can_be_read(tmp_path):
    animals(tmp_path, COUNTS | {"dog": 1})
    (tmp_path / "dog" / "00.png").write_text("woof")
    with (
        logged(),
        pytest.raises(DataError, match="dog holds no image in colour that can be"),
    ):
        data(tmp_path).images("train", draw(1), torch.tensor([3]))
    (tmp_path / "dog" / "00.png").unlink()
    with pytest.raises(DataError, match="dog holds no images, and each class needs some"):
        data(tmp_path).images("train", draw(1))


def test_a_folder_that_is_not_there_or_flat(tmp_path):
    with pytest.raises(DataError, match=r"^there is no folder at .*missing"):
        data(tmp_path / "missing")
    with pytest.raises(DataError, match="holds no folders"):
        data(tmp_path)


def test_classes_have_no_images():
    dataset: Dataset = classes(ClassesConfig(n=10, size=32, features="clip-x"))
    assert (dataset.n_classes, dataset.image_shape, dataset.features) == (10, (3, 32, 32), "clip-x")
    assert (dataset.splits, dataset.weights("features")) == ((), None)
    with pytest.raises(DataError, match=r"^data=classes has no images; give a reference"):
        dataset.images("train", draw())
    assert attrs.asdict(ClassesConfig()) == {"n": 1000, "size": 256, "features": "inception"}


def test_the_digits_have_splits_and_digests():
    digits, sums = Digits(), DigitSums()
    assert digits.splits == sums.splits == ("train", "test")
    assert len({digits.sha256, sums.sha256, hashlib.sha256(b"no images").hexdigest()}) == 3
    assert len(digits.sha256) == 64
    assert Digits().sha256 == digits.sha256


def test_the_plugin_offers_what_can_be_loaded():
    offers = {offer.name: offer for offer in ardistill_folder.ardistill_datasets()}
    assert set(offers) == {"folder", "classes"}
    assert attrs.fields(FolderConfig).path.type is Path
    with pytest.raises(ValueError, match="size"):
        FolderConfig(path=Path(), size=0)
