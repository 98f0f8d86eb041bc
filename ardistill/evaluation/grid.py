"""The picture of a run: generators over columns of classes, every pixel of a small image a crisp square.

Shape legend: N images, of which each run of `len(columns)` is one line of cells; H W pixels.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import attrs
import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ardistill.evaluation.extraction import to_uint8

CELL = 64  # pixels aimed at; a small image is enlarged by a whole number, a large one keeps up to twice this
GAP, GROUP_GAP, MARGIN = 4, 16, 24
TEXT, NOTE, HEAD = 16, 12, 14  # font sizes
INK, GREY, PAPER = "#1f2328", "#6e7781", "#ffffff"


@attrs.frozen(eq=False)
class Strip:
    """A generator's images (N, channels, H, W) in [-1, 1], its name, and a small note under it."""

    name: str
    images_NCHW: Tensor
    note: str = ""


def _font(size: int, weight: str = "") -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib carries it, so that the picture is the same on every machine."""
    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", f"DejaVuSans{weight}.ttf"), size
    )


def cell_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) at which an image is shown."""
    side = max(height, width)
    if side > 2 * CELL:
        return max(1, width * 2 * CELL // side), max(1, height * 2 * CELL // side)
    scale = max(1, round(CELL / side))
    return width * scale, height * scale


def _pictures(images_NCHW: Tensor) -> list[Image.Image]:
    size = cell_size(*images_NCHW.shape[-2:])
    images_NHWC = to_uint8(images_NCHW).cpu().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
    filtered = Image.Resampling.LANCZOS if size[0] < images_NCHW.shape[-1] else Image.Resampling.NEAREST
    return [Image.fromarray(image_HWC).resize(size, filtered) for image_HWC in images_NHWC]


def sample_grid(strips: Sequence[Strip], columns: Sequence[str]) -> Image.Image:
    """Draws the strips under one another, `columns` naming the classes; each strip fills whole lines."""
    if not strips or not columns:
        raise ValueError("a grid needs at least one strip and one column")
    for strip in strips:
        if not len(strip.images_NCHW) or len(strip.images_NCHW) % len(columns):
            raise ValueError(
                f"{len(strip.images_NCHW)} images of {strip.name} do not fill lines of {len(columns)}"
            )
    width, height = cell_size(*strips[0].images_NCHW.shape[-2:])
    name_font, note_font, head_font = _font(TEXT, "-Bold"), _font(NOTE), _font(HEAD)
    label = max(
        *(name_font.getlength(strip.name) for strip in strips),
        *(note_font.getlength(strip.note) for strip in strips),
    )
    left = MARGIN + round(label) + MARGIN
    top = MARGIN + HEAD + 12
    lines = [len(strip.images_NCHW) // len(columns) for strip in strips]
    canvas = Image.new(
        "RGB",
        (
            left + len(columns) * (width + GAP) - GAP + MARGIN,
            top + sum(lines) * (height + GAP) + (len(strips) - 1) * (GROUP_GAP - GAP) - GAP + MARGIN,
        ),
        PAPER,
    )
    pen = ImageDraw.Draw(canvas)
    for column, heading in enumerate(columns):
        centre = left + column * (width + GAP) + width / 2
        pen.text((centre, top - 12), heading, fill=GREY, font=head_font, anchor="ms")
    y = top
    for strip, n_lines in zip(strips, lines, strict=True):
        block = n_lines * (height + GAP) - GAP
        middle = y + block / 2
        pen.text(
            (MARGIN, middle - (9 if strip.note else 0)), strip.name, fill=INK, font=name_font, anchor="lm"
        )
        if strip.note:
            pen.text((MARGIN, middle + 11), strip.note, fill=GREY, font=note_font, anchor="lm")
        for index, picture in enumerate(_pictures(strip.images_NCHW)):
            line, column = divmod(index, len(columns))
            canvas.paste(picture, (left + column * (width + GAP), y + line * (height + GAP)))
        y += block + GROUP_GAP
    return canvas


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
