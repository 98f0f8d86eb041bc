"""Looks at a set of images, batch by batch, and keeps the features alone.

Shape legend: B batch, N images, F features, H W pixels.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from ardistill.errors import DataError
from ardistill.evaluation.extraction import extractor, network_digest
from ardistill.evaluation.references import imagefolder
from ardistill.evaluation.references.cache import FeatureCache, Seen, key_of
from ardistill.evaluation.references.npz import Npz
from ardistill.evaluation.statistics import check_finite
from ardistill.protocols import FeatureNetwork, Progress

FORMAT = 2
"""Of the key; another one where images are read otherwise."""


@attrs.frozen(eq=False)
class ImageSet:
    """`total` images, all that their pixels depend on, and a function of the batch size that reads them.

    It gives (B, 3, H, W) uint8 and "name: why" of the files that are no such images.
    """

    name: str
    total: int
    identity: Mapping[str, Any]
    read: Callable[[int], Iterator[tuple[Tensor, list[str]]]]

    @classmethod
    def of_folder(
        cls, name: str, sha256: str, folder: Path, files: list[str], size: tuple[int, int]
    ) -> "ImageSet":
        identity = {"content": sha256, "resize": imagefolder.resize_rule(size)}
        return cls(name, len(files), identity, lambda batch: imagefolder.batches(folder, files, size, batch))

    @classmethod
    def of_npz(cls, name: str, sha256: str, npz: Npz, size: tuple[int, int]) -> "ImageSet":
        """The images `arr_0`. Raises DataError where they are not of this (height, width)."""
        total, height, width, _ = npz.arrays["arr_0"].shape
        if (height, width) != size:
            raise DataError(
                f"its images are {height}x{width}, and {size[0]}x{size[1]} are compared; give a reference of that "
                "size, or a folder, whose images are resized"
            )
        return cls(name, total, {"content": sha256}, lambda batch: _rows(npz, batch))


def _rows(npz: Npz, batch: int) -> Iterator[tuple[Tensor, list[str]]]:
    for part in npz.rows("arr_0", batch):
        yield torch.from_numpy(part).permute(0, 3, 1, 2).contiguous(), []


def extractor_name(network: FeatureNetwork) -> str:
    """The network and its weights, as a file of statistics names what it was made with."""
    return f"{network.name} {network_digest(network)}"


def extract_with(network: FeatureNetwork, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function from images (B, 3, H, W) uint8 to the features (B, F) of the network, which is on `device`."""
    extract = extractor(network)

    def features_of_bytes(bytes_BCHW: Tensor) -> Tensor:
        with torch.no_grad():
            return extract(bytes_BCHW.to(device).float() / 127.5 - 1).features_NF

    return features_of_bytes


@attrs.frozen(eq=False)
class Eye:
    """A feature network, and how it looks.

    `extract` takes (B, 3, H, W) uint8 to (B, F) floats; `extractor` names the network and its weights.
    """

    extract: Callable[[Tensor], Tensor]
    extractor: str
    n_features: int
    batch: int
    skip: float
    cache: FeatureCache
    progress: Progress

    def see(self, images: ImageSet) -> Seen:
        """The features, from the cache where they are there.

        A warning tells of images that were passed over; more than the share `skip` of them raise DataError.
        """
        key = key_of({"format": FORMAT, "extractor": self.extractor, **images.identity})
        seen = self.cache.load(key, self.n_features)
        if seen is None:
            seen = self._look(images)
            if len(seen.skipped) <= self.skip * images.total:
                self.cache.save(key, seen)
        if seen.skipped:
            told = imagefolder.told(seen.skipped, images.total)
            if len(seen.skipped) > self.skip * images.total:
                raise DataError(
                    f"{told}, and at most {100 * self.skip:g}% may be; take them out, or raise skip"
                )
            logging.getLogger("ardistill").warning("%s: %s and left out", images.name, told)
        return seen

    def _look(self, images: ImageSet) -> Seen:
        """Once too many are unfit, the rest is only counted."""
        features_NF = torch.empty(images.total, self.n_features)
        skipped: list[str] = []
        looked, done = 0, 0
        for images_BCHW, faults in images.read(self.batch):
            skipped += faults
            looked += len(images_BCHW) + len(faults)
            if len(images_BCHW) and len(skipped) <= self.skip * images.total:
                features_BF = self.extract(images_BCHW).detach().to("cpu", torch.float32)
                check_finite(features_BF)
                features_NF[done : done + len(features_BF)] = features_BF
                done += len(features_BF)
            self.progress.advance(looked, images.total, f"reading {images.name}")
        return Seen(features_NF[:done], tuple(skipped))
