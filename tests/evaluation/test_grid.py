import io

import numpy as np
import pytest
import torch
from PIL import Image

from ardistill.evaluation.grid import CELL, GAP, GROUP_GAP, Strip, cell_size, png, sample_grid


def flat(value, n, side=16):
    return torch.full((n, 3, side, side), value)


def cells(picture, value):
    """How many separate rectangles of exactly this grey there are, down and across."""
    mask = (np.asarray(picture) == value).all(-1)
    across = mask[mask.any(1).argmax()]
    down = mask[:, mask.any(0).argmax()]
    return tuple(int((np.diff(line.astype(int), prepend=0) == 1).sum()) for line in (down, across))


def test_rows_times_columns():
    strips = [Strip("real", flat(-1.0, 10)), Strip("student", flat(0.0, 5), "1 pass")]
    picture = sample_grid(strips, list("01234"))
    assert cells(picture, 0) == (2, 5)
    assert cells(picture, 128) == (1, 5)
    black_y, grey_y = (np.nonzero((np.asarray(picture) == grey).all(-1))[0] for grey in (0, 128))
    assert black_y.max() - black_y.min() + 1 == 2 * CELL + GAP
    assert grey_y.min() - black_y.max() - 1 == GROUP_GAP
    assert (np.asarray(picture) == 0).all(-1).sum() == 10 * CELL * CELL
    assert (np.asarray(picture) == 128).all(-1).sum() == 5 * CELL * CELL
    assert (np.asarray(picture)[0] == 255).all()
    assert (np.asarray(picture)[-1] == 255).all()


def test_images_stand_in_their_places_and_pixels_are_crisp():
    values = torch.tensor([-1.0, -0.5, 0.0, 0.5])  # 0, 64, 128, 191
    images = values.reshape(4, 1, 1, 1).expand(4, 1, 16, 16).clone()
    images[3, 0, 5, 7] = -1.0
    pixels = np.asarray(sample_grid([Strip("a", images)], ["x", "y"]))[..., 0]
    y0, x0 = (int(places.min()) for places in np.nonzero(pixels == 64))
    scale = CELL // 16
    left = x0 - CELL - 4
    centres = [pixels[y0 + 5 + dy, left + 5 + dx] for dy in (0, CELL + 4) for dx in (0, CELL + 4)]
    assert centres == [0, 64, 128, 191]
    spot = pixels[y0 + CELL + 4 :, x0:][5 * scale : 6 * scale, 7 * scale : 8 * scale]
    assert (spot == 0).all()
    assert pixels[y0 + CELL + 4 + 5 * scale, x0 + 7 * scale - 1] == 191


def test_long_labels_do_not_reach_the_images():
    short = sample_grid([Strip("a", flat(-1.0, 1))], ["x"])
    long = sample_grid([Strip("a", flat(-1.0, 1), "a note that is a good deal longer than the name")], ["x"])
    assert long.width > short.width + 150
    assert cells(long, 0) == (1, 1)


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((16, 16), (64, 64)), ((28, 28), (56, 56)), ((100, 50), (50, 100)), ((256, 256), (128, 128))],
)
def test_cell_size(shape, shown):
    assert cell_size(*shape) == shown
    picture = sample_grid([Strip("a", torch.full((1, 1, *shape), -1.0))], ["x"])
    assert (np.asarray(picture) == 0).all(-1).sum() == shown[0] * shown[1]


def test_png_is_repeatable_and_readable():
    picture = sample_grid([Strip("a", flat(0.3, 2))], ["x", "y"])
    assert png(picture) == png(picture)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), np.asarray(picture))


@pytest.mark.parametrize(("n", "columns"), [(3, ["x", "y"]), (0, ["x"]), (1, [])])
def test_what_does_not_fill_lines(n, columns):
    with pytest.raises(ValueError, match=r"fill lines|at least one"):
        sample_grid([Strip("a", flat(0.0, n))], columns)
