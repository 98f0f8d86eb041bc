"""Images in a folder: found, read, and brought to one size.

Shape legend: B batch, H W pixels. Images are bytes, red, green and blue.

Grey, CMYK, transparent and broken files are told from images in colour, and left to the caller to pass over.
"""

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ardistill.errors import DataError
from ardistill.wording import listed, printable

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_GREY = frozenset({"1", "L", "LA", "La", "I", "F"})
_THREADS = 8
_STRIP = 8
_NAMED = 3
"""Files that a message names."""

Decoded = np.ndarray[Any, np.dtype[np.uint8]]


def image_files(folder: Path) -> list[str]:
    """Names relative to the folder, "/" between their parts, sorted. Hidden files are passed over.

    Links to folders are followed once all real ones have been visited, in the order of their names. Each folder is
    visited once, whatever leads to it; links that lead back up are not followed.
    """
    found: list[str] = []
    visited: set[Path] = set()
    starts = [folder]
    while starts:
        links: list[Path] = []
        for start in sorted(starts):
            for where, folders, files in os.walk(start):
                here = Path(where)
                real = here.resolve()
                if real in visited:
                    folders.clear()
                    continue
                visited.add(real)
                folders[:] = [name for name in folders if not name.startswith(".")]
                links += [here / name for name in folders if (here / name).is_symlink()]
                found += [
                    (here / name).relative_to(folder).as_posix()
                    for name in files
                    if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
                ]
        starts = [link for link in links if not _leads_up(link, folder)]
    return sorted(found)


def _leads_up(link: Path, folder: Path) -> bool:
    """To a folder that holds the link, or the whole search."""
    target = link.resolve()
    return any(place.resolve().is_relative_to(target) for place in (link.parent, folder))


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in it, sorted, as torchvision's ImageFolder numbers the classes."""
    if not folder.is_dir():
        raise DataError(
            f"there is no folder at {folder}; give one that holds a folder of images for each class"
        )
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise DataError(f"{folder} holds no folders, and one of images for each class is expected")
    return names


def resize_rule(size: tuple[int, int]) -> str:
    """What `fitted` does, for a protocol; `size` is (height, width)."""
    return f"centre crop to {size[0]}x{size[1]}, box then bicubic"


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scaled to cover (height, width) and cropped to its centre; an image of that size stays as it is.

    As guided-diffusion prepares ImageNet (guided_diffusion/image_datasets.py:center_crop_arr): halved with a box
    filter while both sides are at least twice too long, then scaled bicubically. A strip, more than `_STRIP` times as
    long as what is kept of it, is cut to its middle first: scaled whole it could fill any memory.
    """
    height, width = size
    image = _middle(image, height, width)
    while image.width >= 2 * width and image.height >= 2 * height:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = max(width / image.width, height / image.height)
    covering = (round(image.width * scale), round(image.height * scale))
    if covering != image.size:
        image = image.resize(covering, Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _middle(image: Image.Image, height: int, width: int) -> Image.Image:
    """A strip's middle, and any other image itself. As many pixels go on either side, so that the centre stays."""
    across, down = (
        min(side, math.ceil(_STRIP * other * ours / theirs))
        for side, other, ours, theirs in (
            (image.width, image.height, width, height),
            (image.height, image.width, height, width),
        )
    )
    left, top = (image.width - across) // 2, (image.height - down) // 2
    if not left and not top:
        return image
    return image.crop((left, top, image.width - left, image.height - top))


def _in_colour(image: Image.Image) -> Image.Image | str:
    """The image as RGB, or what it is instead."""
    if image.mode in _GREY or image.mode.startswith("I;16"):
        return "grey"
    if image.mode == "CMYK":
        return "CMYK"
    if image.mode in {"RGBA", "RGBa", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            return "transparent"
    return image.convert("RGB")


def _decode(path: Path, size: tuple[int, int]) -> Decoded | str:
    if not path.is_file():  # a pipe would never end
        return "broken"
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            colour = _in_colour(image)
            return colour if isinstance(colour, str) else np.array(fitted(colour, size))
    except Exception:  # a damaged file can make a reader raise anything
        return "broken"


def decode(paths: Sequence[Path], size: tuple[int, int]) -> list[Decoded | str]:
    """Of each file the pixels (H, W, 3), or why there are none: it is grey, CMYK, transparent or broken.

    Broken is also what has more pixels than Pillow believes in (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # of metadata that nobody reads
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return list(pool.map(lambda path: _decode(path, size), paths))


def stacked(images: Sequence[Decoded]) -> Tensor:
    """(H, W, 3) each -> (B, 3, H, W) uint8."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def batches(
    folder: Path, names: Sequence[str], size: tuple[int, int], batch: int
) -> Iterator[tuple[Tensor, list[str]]]:
    """The files in turn, `batch` at a time: images (B, 3, H, W), and "name: what is wrong" of those that are none."""
    for start in range(0, len(names), batch):
        part = names[start : start + batch]
        read = decode([folder / name for name in part], size)
        good = [image for image in read if not isinstance(image, str)]
        faults = [
            f"{name}: {image}" for name, image in zip(part, read, strict=True) if isinstance(image, str)
        ]
        yield stacked(good) if good else torch.empty(0, 3, *size, dtype=torch.uint8), faults


def told(faults: Sequence[str], total: int) -> str:
    """`3 of 90 images are unfit (2 grey, 1 broken; first: a.png, b.png, c.png)`, of "name: what is wrong"."""
    pairs = [fault.rpartition(": ") for fault in faults]
    kinds = listed(f"{count} {kind}" for kind, count in Counter(kind for *_, kind in pairs).most_common())
    first = printable(listed(name for name, *_ in pairs[:_NAMED]))
    return f"{len(faults)} of {total} images are unfit ({kinds}; first: {first})"
