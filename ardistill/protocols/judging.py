"""What judges: real images, the networks that see features in images, and figures of whole sets.

Shape legend: B batch, C channels, H W pixels, F features.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from ardistill.protocols.training import Draw

Split = Literal["train", "test"]


class Dataset(Protocol):
    """Real images with labels, to train tokenizers and teachers and to judge samples by."""

    name: str
    n_classes: int
    image_shape: tuple[int, int, int]
    features: str
    """The registered feature network that judges this data."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have images; none where only statistics of the data are known."""
        ...

    @property
    def sha256(self) -> str:
        """A digest of what the images are made of, so that a report can tell two references apart."""
        ...

    def images(self, split: Split, draw: Draw, labels_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As many augmented images (B, channels, H, W) in [-1, 1] and labels (B,) as `draw` names.

        Of the given classes, one image each; without them, in the data's own proportions.
        """
        ...

    def folder(self, split: Split) -> Path | None:
        """The folder whose images are the split's, so that they are judged against as they lie there, each once.

        None where images are drawn without end, or there are none.
        """
        ...

    def weights(self, name: str) -> Path | None:
        """A weights file bundled with the data (a `WeightsFinder`)."""
        ...


class FeatureNetwork(Protocol):
    """Images -> features and class logits, for the distances between sets of images."""

    name: str
    n_features: int

    def __call__(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, H, W) in [-1, 1] -> features (B, F) and logits (B, classes), float32.

        The logits are (B, 0) where the network classifies nothing.
        """
        ...


class Metric(Protocol):
    """A figure of a set of images, which it is shown batch by batch."""

    def update(self, images_BCHW: Tensor, labels_B: Tensor, features_BF: Tensor) -> None:
        """Images (B, channels, H, W) in [-1, 1], the classes they were to show, and what the feature network saw.

        The features lie on the CPU, the others on the teacher's device.
        """
        ...

    def result(self) -> Mapping[str, float]:
        """The figures by their names, which head the columns of tables."""
        ...
