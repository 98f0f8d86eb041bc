"""What samples are compared with: a folder of images, or a file of statistics, whoever wrote it.

Shape legend: B batch, N images, F features, H W pixels.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import torch
from torch import Tensor

from ardistill.errors import DataError
from ardistill.evaluation.fidelity import SPLITS, check_enough
from ardistill.evaluation.references.cache import FeatureCache
from ardistill.evaluation.references.imagefolder import image_files, resize_rule
from ardistill.evaluation.references.seeing import Eye, ImageSet
from ardistill.evaluation.references.statistics_files import EXPECTED, Kind, read_content
from ardistill.evaluation.statistics import Moments, Statistics
from ardistill.protocols import Progress
from ardistill.wording import shown

_ROWS = 4096
"""Of the features that are held in float64 at once."""
_THREADS, _AT_ONCE = 8, 1000
"""Of files that are hashed."""
_IMAGES = "its usable images"


@attrs.frozen(eq=False)
class Reference:
    """A set of images as far as distances need it.

    `name` is for a protocol: "folder /data/val", "VIRTUAL_imagenet256_labeled.npz". `sha256` is of the content: of a
    folder the names of its images and their bytes. `n` images are behind the `statistics`, None where the file does not
    tell. `features_NF` are float32, None where the images are not known; in a file of OpenAI's they are those of its
    images, which are fewer than those behind its statistics. `resize` says how images were brought to size, "" where
    the file does not tell. `skipped` are "name: why" of images passed over. `from_images` tells whether the statistics
    were taken here, of images, rather than brought by the file.
    """

    name: str
    sha256: str
    n: int | None
    statistics: Statistics
    features_NF: Tensor | None
    kind: Kind
    resize: str = ""
    skipped: tuple[str, ...] = ()
    from_images: bool = False


def open_reference(
    path: Path,
    extract: Callable[[Tensor], Tensor],
    extractor: str,
    size: tuple[int, int],
    *,
    n_features: int,
    batch: int = 64,
    skip: float = 0.05,
    cache: Path | None,
    progress: Progress,
) -> Reference:
    """Reads what is at `path`; what it is, is told by its content.

    `extract` takes images (B, 3, H, W) uint8 to features (B, F), and `extractor` names that network and its weights.
    Images of a folder are brought to `size`, (height, width); those of a file must have it. Features are kept
    under `cache`. Raises DataError for what can be no reference.
    """
    if not path.exists():
        raise DataError(f"there is no reference at {path}; {EXPECTED}")
    eye = Eye(extract, extractor, n_features, batch, skip, FeatureCache(cache), progress)
    try:
        if path.is_dir():
            return _of_folder(path, eye, size)
        if not path.is_file():  # opening a pipe would wait for whoever writes to it
            raise DataError(f"it is neither a folder nor a regular file; {EXPECTED}")
        return _of_file(path, eye, size)
    except DataError as error:
        raise DataError(f"{path} can't be a reference: {error}") from error


def _of_folder(path: Path, eye: Eye, size: tuple[int, int]) -> Reference:
    files = image_files(path)
    if not files:
        raise DataError("it holds no .png, .jpg, .jpeg, .webp or .bmp images; give the folder of the images")
    sha256 = _hash_of_files(path, files, eye.progress)
    name = f"folder {path}"
    seen = eye.see(ImageSet.of_folder(name, sha256, path, files, size))
    statistics = _statistics(seen.features_NF, eye.n_features)
    return Reference(
        name,
        sha256,
        len(seen.features_NF),
        statistics,
        seen.features_NF,
        "folder",
        resize_rule(size),
        seen.skipped,
        from_images=True,
    )


def _of_file(path: Path, eye: Eye, size: tuple[int, int]) -> Reference:
    content = read_content(path)
    if content.extractor and content.extractor != eye.extractor:
        raise DataError(
            f"its statistics were made with {shown(content.extractor)}, and {shown(eye.extractor)} is used; "
            "make them again, or use that network"
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    fits = content.n_features in {None, eye.n_features}
    if not fits and content.images is None:
        raise DataError(
            f"it was made with a network of {content.n_features} features, and this one has {eye.n_features}; "
            "give a folder of images, or statistics made with this network"
        )
    statistics, features_NF = content.statistics if fits else None, content.features_NF
    if statistics is not None:
        statistics.check_semidefinite()
        if statistics.n is not None:
            check_enough(statistics.n, eye.n_features, _IMAGES)
    if content.images is not None:
        images = ImageSet.of_npz(path.name, sha256, content.images, size)
        if statistics is not None:
            _check_few(images.total)
        features_NF = eye.see(images).features_NF
    from_images = statistics is None and content.images is not None
    if statistics is None:
        assert features_NF is not None
        statistics = _statistics(features_NF, eye.n_features)
    return Reference(
        path.name, sha256, statistics.n, statistics, features_NF, content.kind, from_images=from_images
    )


def _check_few(n: int) -> None:
    """The images beside ready statistics may be fewer than the features; KID, precision and recall need some."""
    if 0 < n <= SPLITS:  # none at all is told by whoever reads them
        raise DataError(
            f"its images (arr_0) number {n} beside mu and sigma, and distances need at least {SPLITS + 1}; save more, "
            "or mu and sigma alone"
        )


def _statistics(features_NF: Tensor, n_features: int) -> Statistics:
    check_enough(len(features_NF), n_features, _IMAGES)
    moments = Moments()
    for part_BF in torch.split(features_NF, _ROWS):
        moments.add(part_BF)
    return moments.statistics()


def _hash_of_files(folder: Path, files: Sequence[str], progress: Progress) -> str:
    """Over the names and the bytes; a file that can't be read counts as a broken one later."""

    def hash_one(name: str) -> bytes:
        path = folder / name
        if not path.is_file():  # a pipe would never end
            return b"unreadable"
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError:
            return b"unreadable"

    whole = hashlib.sha256()
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), _AT_ONCE):
            part = files[start : start + _AT_ONCE]
            for name, digest in zip(part, pool.map(hash_one, part), strict=True):
                whole.update(os.fsencode(name) + b"\0" + digest)
            progress.advance(start + len(part), len(files), f"hashing {folder.name}")
    return whole.hexdigest()
