"""Classes of which no image is at hand, as a `Dataset`: its models are judged against a file of statistics."""

import hashlib
from pathlib import Path

from torch import Tensor

from ardistill.errors import DataError
from ardistill.protocols import Draw, Split
from ardistill_folder.config import ClassesConfig


class Classes:
    """Numbered classes, and the size of images; satisfies `Dataset`."""

    name = "classes"
    splits: tuple[Split, ...] = ()
    sha256 = hashlib.sha256(b"no images").hexdigest()

    def __init__(self, config: ClassesConfig) -> None:
        self.n_classes = config.n
        self.image_shape = (3, config.size, config.size)
        self.features = config.features

    def images(self, split: Split, draw: Draw, labels_B: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """There are none: raises DataError."""
        raise DataError(
            f"data={self.name} has no images; give a reference to measure against, or the images with data=folder"
        )

    def folder(self, split: Split) -> Path | None:  # noqa: ARG002
        """None: there are no images."""
        return None

    def weights(self, name: str) -> Path | None:  # noqa: ARG002
        """Bundled weights: none."""
        return None


def classes(config: ClassesConfig) -> Classes:
    """The dataset offer's target."""
    return Classes(config)
