"""What a dataset and a feature network promise (`protocols.Dataset`, `protocols.FeatureNetwork`).

Shape legend: B batch, F features, H W pixels.
"""

from functools import partial

import attrs
import torch
from torch import Tensor

from ardistill.protocols import Dataset, FeatureNetwork, Split
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect, expect_members
from ardistill.testing.looking import TOLERANCE, expect_close, expect_tensor

_CPU = torch.device("cpu")


@attrs.define(eq=False)
class DatasetSubject:
    dataset: Dataset
    n_steps: int = 1

    def images(self, split: Split, case: Case, labels_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.dataset.images(split, case.draw(), labels_B)


def it_has_what_the_protocol_demands(subject: DatasetSubject, case: Case) -> None:
    """A dataset has every name of protocols.Dataset, known splits, a digest, and no file for an unknown name."""
    del case
    data = subject.dataset
    expect_members(data, Dataset)
    odd = [split for split in data.splits if split not in ("train", "test")]
    expect(not odd, f"splits called {odd}")
    digest: object = data.sha256
    expect(isinstance(digest, str) and digest == data.sha256, f"sha256 is {digest!r}, and not always")
    for split in data.splits:
        folder = data.folder(split)
        expect(folder is None or folder.is_dir(), f"folder({split}) is {folder}, which is no folder")
    unknown = data.weights("nobody/nothing")
    expect(unknown is None, f"weights() of an unknown name are {unknown}")


def images_are_images(subject: DatasetSubject, case: Case) -> None:
    """images() are (B, channels, H, W) float32 in [-1, 1], with labels (B,) int64 of the data's classes."""
    for split in subject.dataset.splits:
        images_BCHW, labels_B = subject.images(split, case)
        shape = (case.batch, *subject.dataset.image_shape)
        expect_tensor(images_BCHW, shape, torch.float32, _CPU, f"images of {split}")
        least, largest = float(images_BCHW.min()), float(images_BCHW.max())
        expect(least >= -1 and largest <= 1, f"pixels of {split} within [{least:.4g}, {largest:.4g}]")
        expect_tensor(labels_B, (case.batch,), torch.int64, _CPU, f"labels of {split}")
        least, largest = int(labels_B.min()), int(labels_B.max())
        n_classes = subject.dataset.n_classes
        expect(least >= 0 and largest < n_classes, f"labels {least}..{largest} of {n_classes} classes")


def labels_asked_for_are_given(subject: DatasetSubject, case: Case) -> None:
    """images() of given labels come with those labels."""
    labels_B = case.own().integers("label", subject.dataset.n_classes)
    for split in subject.dataset.splits:
        _, told_B = subject.images(split, case, labels_B)
        expect(told_B.equal(labels_B), f"labels {told_B.tolist()} of {split} instead of {labels_B.tolist()}")


def the_draw_decides_an_image(subject: DatasetSubject, case: Case) -> None:
    """An image depends on its own numbers alone: no global generator, no batch."""
    for split in subject.dataset.splits:
        (whole_BCHW, _), (again_BCHW, _) = looking.twice(partial(subject.images, split, case))
        apart = looking.furthest(again_BCHW, whole_BCHW)
        expect(apart == 0, f"images of {split} that differ by {apart:.3g} the second time")
        for row in range(case.batch):
            alone, _ = subject.dataset.images(split, case.draw(first=row, count=1))
            said = f"image {row} of {split} differs from the one drawn alone"
            expect_close(alone, whole_BCHW[row : row + 1], said)


DATASET_CHECKS: tuple[Check[DatasetSubject], ...] = (
    Check(it_has_what_the_protocol_demands, examples=0, gate=True),
    Check(images_are_images),
    Check(labels_asked_for_are_given),
    Check(the_draw_decides_an_image),
)


@attrs.define(eq=False)
class FeaturesSubject:
    """A feature network, and the images' shape that it is looked at with."""

    network: FeatureNetwork
    image_shape: tuple[int, int, int]
    n_steps: int = 1

    def images(self, case: Case) -> Tensor:
        return 2 * case.own().uniform("image", *self.image_shape) - 1

    def seen(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self.network(images_BCHW)


def features_are_features(subject: FeaturesSubject, case: Case) -> None:
    """A feature network has a name, and gives (B, n_features) and logits (B, classes), float32 and finite."""
    expect_members(subject.network, FeatureNetwork)
    features_BF, logits_BZ = subject.seen(subject.images(case))
    expect_tensor(features_BF, (case.batch, subject.network.n_features), torch.float32, _CPU, "features")
    expect(logits_BZ.ndim == 2, f"logits are {looking.told(logits_BZ)}")
    expect_tensor(logits_BZ, (case.batch, logits_BZ.shape[1]), torch.float32, _CPU, "logits")
    expect(bool(features_BF.isfinite().all() and logits_BZ.isfinite().all()), "nan or infinity")


def features_do_not_depend_on_the_batch(subject: FeaturesSubject, case: Case) -> None:
    """An image's features are the same alone and in a batch, up to rounding, and the same again bit for bit."""
    images_BCHW = subject.images(case)
    looking.expect_same_twice(lambda: subject.seen(images_BCHW)[0], "features")
    whole_BF, _ = subject.seen(images_BCHW)
    for row in range(case.batch):
        one = slice(row, row + 1)
        said = f"features of image {row} differ from those it has alone"
        expect_close(subject.seen(images_BCHW[one])[0], whole_BF[one], said, 10 * TOLERANCE)


def features_leave_what_they_see(subject: FeaturesSubject, case: Case) -> None:
    """Looking at images changes neither them nor the network."""
    images_BCHW = subject.images(case)
    things = {"images": images_BCHW, "network": subject.network}
    before = looking.all_bits(things)
    subject.seen(images_BCHW)
    looking.expect_unchanged(before, things, "looking")


FEATURES_CHECKS: tuple[Check[FeaturesSubject], ...] = (
    Check(features_are_features, gate=True),
    Check(features_do_not_depend_on_the_batch),
    Check(features_leave_what_they_see, examples=0),
)
