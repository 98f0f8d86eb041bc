"""The handwritten digits as a `Dataset`: 8x8 scans, enlarged to 16x16 and turned, moved and sheared a little.

Legend: Z classes, B batch, N all scans of a split, H W pixels. Images are grey, in three equal channels, in [-1, 1].
Credit: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, CC BY 4.0 (README.md).
"""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ardistill.errors import DataError
from ardistill.protocols import Draw, Split, WeightsFinder

HOME = Path(__file__).parent
SIDE, N_CLASSES = 16, 10
MARGIN = 1.12  # the scans touch their border; zoomed out by this, a shift does not cut strokes
TURN, ZOOM, SHIFT, SHEAR = 0.17, 0.06, 0.12, 0.1  # radians; share; half image widths; slope


@cache
def scans_sha256() -> str:
    """Over the file of the scans, and how much they are warped."""
    digest = hashlib.sha256((HOME / "digits.npz").read_bytes())
    digest.update(repr((SIDE, MARGIN, TURN, ZOOM, SHIFT, SHEAR)).encode())
    return digest.hexdigest()


@cache
def scans(split: Split) -> tuple[Tensor, Tensor]:
    """(N, 1, 8, 8) float32 in [0, 1] and labels (N,).

    Of each class every fifth scan is "test" (355), the others are "train" (1442). The file's order is the writers'
    order, so both splits hold every writer's hand.
    """
    path = HOME / "digits.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            ink_N88, label_N = file["images"], file["labels"].astype(np.int64)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} should hold the digits and cannot be read ({error}); reinstall ardistill"
        ) from error
    turn_N = np.empty_like(label_N)
    for label in range(10):
        of_class_N = label_N == label
        turn_N[of_class_N] = np.arange(of_class_N.sum())
    chosen_N = (turn_N % 5 == 4) == (split == "test")
    ink = torch.from_numpy(ink_N88[chosen_N].astype(np.float32) / 16)
    return ink.unsqueeze(1), torch.from_numpy(label_N[chosen_N])


def warps(unit_B6: Tensor) -> Tensor:
    """(B, 6) uniform in [0, 1) -> (B, 2, 3) affine maps from the 16x16 image's coordinates to the scan's."""
    turn, zoom_x, zoom_y, shift_x, shift_y, shear = (unit_B6 * 2 - 1).unbind(1)
    turn, shear = turn * TURN, shear * SHEAR
    zoom_x, zoom_y = MARGIN * (1 + ZOOM * zoom_x), MARGIN * (1 + ZOOM * zoom_y)
    cos, sin = turn.cos(), turn.sin()
    across = torch.stack([zoom_x * cos, zoom_y * (shear * cos - sin), SHIFT * shift_x], dim=1)
    down = torch.stack([zoom_x * sin, zoom_y * (shear * sin + cos), SHIFT * shift_y], dim=1)
    return torch.stack([across, down], dim=1)


def render(ink_B1HW: Tensor, affine_B23: Tensor) -> Tensor:
    """Scans in [0, 1] seen through affine maps -> (B, 3, 16, 16) in [-1, 1], bicubic, black outside."""
    shape = (len(ink_B1HW), 1, SIDE, SIDE)
    grid = F.affine_grid(affine_B23, list(shape), align_corners=False)
    image_B1HW = F.grid_sample(ink_B1HW, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return (image_B1HW * 2 - 1).clamp(-1, 1).expand(-1, 3, -1, -1).contiguous()


def digits_of(
    split: Split, draw: Draw, labels_B: Tensor | None = None, place: str = ""
) -> tuple[Tensor, Tensor]:
    """Digits (B, 3, 16, 16) in [-1, 1] and labels (B,): which scan and warp is in `draw`'s numbers for the `place`.

    With `labels_B` the scans are of those classes.
    """
    ink_N1HW, label_N = scans(split)
    if labels_B is None:
        chosen_B = draw.integers(f"{place}scan", len(label_N))
    else:
        counts_Z = torch.bincount(label_N, minlength=N_CLASSES)
        first_Z = counts_Z.cumsum(0) - counts_Z
        rank_B = (draw.uniform(f"{place}rank").cpu() * counts_Z[labels_B.cpu()]).long()
        chosen_B = label_N.argsort(stable=True)[first_Z[labels_B.cpu()] + rank_B]
    unit_B6 = draw.uniform(f"{place}warp", 6)
    device = unit_B6.device
    images_B3HW = render(ink_N1HW[chosen_B.cpu()], warps(unit_B6.cpu()))
    return images_B3HW.to(device), label_N[chosen_B.cpu()].to(device)


def weights_file(name: str, prefix: str = "") -> str:
    """The file that holds the weights called `name`, e.g. "var/teacher"."""
    return prefix + name.replace("/", "-") + ".safetensors"


def folder_finder(folder: Path, prefix: str = "") -> WeightsFinder:
    """Finds the weights that `pretrain` wrote to a folder, whose names begin with `prefix` there."""

    def find(name: str) -> Path | None:
        path = folder / weights_file(name, prefix)
        return path if path.is_file() else None

    return find


class Digits:
    """UCI's 1,797 handwritten digits with small random warps; satisfies `Dataset`."""

    name = "digits"
    n_classes = N_CLASSES
    image_shape = (3, SIDE, SIDE)
    features = "digits"
    splits: tuple[Split, ...] = ("train", "test")

    @property
    def sha256(self) -> str:
        return scans_sha256()

    def images(self, split: Split, draw: Draw, labels_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Image n is the scan and the warp that `draw` gives n: (B, 3, 16, 16) in [-1, 1] and labels (B,).

        With `labels_B` the scans are of those classes.
        """
        return digits_of(split, draw, labels_B)

    def plain(self, split: Split) -> tuple[Tensor, Tensor]:
        """All scans of the split, enlarged but not warped."""
        ink_N1HW, label_N = scans(split)
        return render(ink_N1HW, warps(torch.full((len(label_N), 6), 0.5))), label_N

    def folder(self, split: Split) -> Path | None:
        """None: every scan is warped anew."""
        del split
        return None

    def weights(self, name: str) -> Path | None:
        """Bundled weights: "features", and "tokenizer" and "teacher" of "var/" and "llamagen/"."""
        return folder_finder(HOME / "weights")(name)


def digits(_config: object = None) -> Digits:
    """The dataset offer's target; there is nothing to configure."""
    return Digits()
