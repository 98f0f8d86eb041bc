"""A folder of images for each class as a `Dataset`.

Legend: B batch, N all images of a split, Z classes, H W pixels. Images have three channels in [-1, 1].
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ardistill.errors import DataError
from ardistill.evaluation.references.imagefolder import (
    Decoded,
    class_folders,
    decode,
    image_files,
    resize_rule,
    stacked,
    told,
)
from ardistill.protocols import Draw, Split
from ardistill_folder.config import FolderConfig

SKIP = 0.05
"""The share of a split's images that may be grey, CMYK, transparent or broken."""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link that leads nowhere: it is told once it is drawn
        return 0


class Pictures:
    """The images of one split. What is in the folder is looked up when it is first asked for."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.classes = class_folders(folder)
        self._size = (size, size)
        self._unfit: dict[int, str] = {}

    @cached_property
    def by_class(self) -> list[list[str]]:
        """The classes' files, named relative to the folder. Raises DataError for a class without."""
        found = []
        for name in self.classes:
            files = [f"{name}/{file}" for file in image_files(self.folder / name)]
            if not files:
                raise DataError(
                    f"{self.folder / name} holds no images, and each class needs some; add or remove it"
                )
            found.append(files)
        return found

    @cached_property
    def files(self) -> list[str]:
        return [file for files in self.by_class for file in files]

    @cached_property
    def counts_Z(self) -> Tensor:
        return torch.tensor([len(files) for files in self.by_class])

    @cached_property
    def first_Z(self) -> Tensor:
        """Where each class begins among all files."""
        return self.counts_Z.cumsum(0) - self.counts_Z

    def labels(self, index_B: Tensor) -> Tensor:
        return torch.searchsorted(self.first_Z, index_B, right=True) - 1

    def digest(self) -> str:
        """Over the names and sizes of the files, since reading all of ImageNet takes too long for every run."""
        lines = [f"{name} {_size(self.folder / name)}" for name in self.files]
        return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()

    def read(self, index_B: Sequence[int]) -> Tensor:
        """(B, 3, H, W) uint8 of these files; an unfit one gives way to the next of its class."""
        images = decode([self.folder / self.files[index] for index in index_B], self._size)
        return stacked([self._or_next(index, image) for index, image in zip(index_B, images, strict=True)])

    def _or_next(self, index: int, image: Decoded | str) -> Decoded:
        if not isinstance(image, str):
            return image
        label = int(self.labels(torch.tensor(index)))
        first, count = int(self.first_Z[label]), int(self.counts_Z[label])
        for step in range(1, count + 1):
            if not isinstance(image, str):
                return image
            self._note(index, image)
            index = first + (index - first + 1) % count
            if step < count:
                (image,) = decode([self.folder / self.files[index]], self._size)
        raise DataError(
            f"{self.folder / self.classes[label]} holds no image in colour that can be read; add some"
        )

    def _note(self, index: int, why: str) -> None:
        """Warns of the first unfit file, and raises DataError once they are more than `SKIP` of all."""
        if index in self._unfit:
            return
        self._unfit[index] = f"{self.files[index]}: {why}"
        summary = f"{self.folder}: {told(list(self._unfit.values()), len(self.files))}"
        if len(self._unfit) > SKIP * len(self.files):
            raise DataError(f"{summary}, and at most {100 * SKIP:g}% may be; take them out")
        if len(self._unfit) == 1:
            logging.getLogger("ardistill").warning(
                "%s; such images give way to the next of their class", summary
            )


class Folder:
    """Images in class folders; satisfies `Dataset`. They are not augmented."""

    name = "folder"

    def __init__(self, config: FolderConfig) -> None:
        self._pictures: dict[Split, Pictures] = {"train": Pictures(config.path, config.size)}
        if config.held_out is not None:
            self._pictures["test"] = Pictures(config.held_out, config.size)
        self._check_same_classes()
        self.n_classes = len(self._pictures["train"].classes)
        self.image_shape = (3, config.size, config.size)
        self.features = config.features

    def _check_same_classes(self) -> None:
        train, *others = self._pictures.values()
        for other in others:
            if odd := sorted(set(train.classes) ^ set(other.classes)):
                raise DataError(
                    f"{train.folder} and {other.folder} have to hold the same classes, and {odd[0]!r} is in one alone; "
                    "give images of the same classes"
                )

    @property
    def splits(self) -> tuple[Split, ...]:
        """The test images are those of `held_out`."""
        return tuple(self._pictures)

    @cached_property
    def sha256(self) -> str:
        """Over the names and sizes of all files and the size they are brought to; their content is not read."""
        parts = [f"{split} {pictures.digest()}" for split, pictures in self._pictures.items()]
        rule = resize_rule((self.image_shape[1], self.image_shape[2]))
        return hashlib.sha256("\n".join([rule, *parts]).encode()).hexdigest()

    def images(self, split: Split, draw: Draw, labels_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Image n is the one that `draw` gives n: (B, 3, H, W) in [-1, 1] and labels (B,).

        With `labels_B` the images are of those classes. An unfit image gives way to the next of its class.
        """
        if split not in self._pictures:
            raise DataError(
                f"data={self.name} has no {split} images; give their folder with data.held_out=FOLDER"
            )
        pictures = self._pictures[split]
        if labels_B is None:
            index_B = draw.integers("image", len(pictures.files))
        else:
            rank_B = draw.uniform("rank")
            counts_B, first_B = (
                of_Z.to(rank_B.device)[labels_B] for of_Z in (pictures.counts_Z, pictures.first_Z)
            )
            index_B = first_B + (rank_B.double() * counts_B).long()
        images_B3HW = pictures.read(index_B.tolist()).to(index_B.device).float() / 127.5 - 1
        return images_B3HW, pictures.labels(index_B.cpu()).to(index_B.device)

    def folder(self, split: Split) -> Path | None:
        """The split's own."""
        return self._pictures[split].folder if split in self._pictures else None

    def weights(self, name: str) -> Path | None:  # noqa: ARG002
        """Bundled weights: none."""
        return None


def folder(config: FolderConfig) -> Folder:
    """The dataset offer's target."""
    return Folder(config)
