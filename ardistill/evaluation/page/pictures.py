"""Images within the page itself, as data: URIs.

Shape legend: N images, S images along a path; H W pixels, C channels.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from io import BytesIO

import attrs
import numpy as np
from PIL import Image
from torch import Tensor

from ardistill.evaluation.extraction import to_uint8
from ardistill.evaluation.grid import Strip

SMALL = 64
"""Pixels of an image's longer side up to which it is stored without loss and shown with crisp pixels."""
QUALITY = 92
SHOWN, SHOWN_LARGE, SHOWN_ON_PATH = 64, 112, 48
"""Pixels at which an image is shown where there is room."""


@attrs.frozen(eq=False)
class Interpolation:
    """Images (S, channels, H, W) in [-1, 1] along a path of latents, and who drew them.

    `note` says which path, e.g. "class 3"; those of the same path follow one another and are shown together.
    """

    name: str
    images_NCHW: Tensor
    note: str = ""


@attrs.frozen
class Picture:
    """An image of the page."""

    uri: str
    alt: str


@attrs.frozen
class Gallery:
    """Images of one generator. `side` is an image's width as shown, in CSS pixels; `crisp` ones keep square pixels."""

    name: str
    note: str
    pictures: tuple[Picture, ...]
    columns: int
    side: int
    width: int
    height: int
    crisp: bool


def gallery(strip: Strip, columns: Sequence[str]) -> Gallery:
    """The strip's images, each told by its generator and class. They have to fill whole lines."""
    n = len(strip.images_NCHW)
    if not columns or not n or n % len(columns):
        raise ValueError(f"{n} images of {strip.name} do not fill lines of {len(columns)}")
    alts = [f"{strip.name}, class {columns[index % len(columns)]}" for index in range(n)]
    return _gallery(strip.name, strip.note, strip.images_NCHW, alts, len(columns), SHOWN)


def paths(interpolations: Sequence[Interpolation]) -> list[tuple[str, list[Gallery]]]:
    """(note, who drew that path), in the order given."""
    made: list[tuple[str, list[Gallery]]] = []
    for each in interpolations:
        if not made or made[-1][0] != each.note:
            made.append((each.note, []))
        n, which = len(each.images_NCHW), ", ".join(filter(None, (each.name, each.note)))
        alts = [f"{which}, {index} of {n}" for index in range(1, n + 1)]
        made[-1][1].append(_gallery(each.name, each.note, each.images_NCHW, alts, n, SHOWN_ON_PATH))
    return made


def _gallery(
    name: str, note: str, images_NCHW: Tensor, alts: Sequence[str], columns: int, shown: int
) -> Gallery:
    height, width = images_NCHW.shape[-2:]
    longer = max(height, width)
    crisp = longer <= SMALL
    side = width * max(1, shown // longer) if crisp else min(width, SHOWN_LARGE * width // longer)
    pictures = tuple(
        Picture(_uri(image, crisp), alt) for image, alt in zip(_images(images_NCHW), alts, strict=True)
    )
    return Gallery(name, note, pictures, columns, side, width, height, crisp)


def _images(images_NCHW: Tensor) -> Iterator[Image.Image]:
    bytes_NHWC = to_uint8(images_NCHW).cpu().permute(0, 2, 3, 1).contiguous().numpy()
    for bytes_HWC in bytes_NHWC:
        grey_HW = bytes_HWC[..., 0]
        is_grey = bool(np.all(bytes_HWC == grey_HW[..., None]))
        yield Image.fromarray(np.ascontiguousarray(grey_HW) if is_grey else bytes_HWC)


def _uri(image: Image.Image, lossless: bool) -> str:
    buffer = BytesIO()
    if lossless:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"
