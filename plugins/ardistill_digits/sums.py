"""Two handwritten digits side by side, whose class is their sum modulo ten, as a `Dataset`.

Neither digit alone tells anything of the class: a generator that draws its tokens independently is right one time in
ten, however sharp its digits are.

Legend: B batch, H W pixels.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from ardistill.protocols import Draw, Split
from ardistill_digits.data import HOME, N_CLASSES, SIDE, digits_of, folder_finder, scans_sha256

PREFIX = "sums-"
"""What the names of the weights' files begin with."""


class DigitSums:
    """Pairs of warped digits, each drawn by itself (`Dataset`)."""

    name = "digit-sums"
    n_classes = N_CLASSES
    image_shape = (3, SIDE, 2 * SIDE)
    features = "digit-sums"
    splits: tuple[Split, ...] = ("train", "test")

    @property
    def sha256(self) -> str:
        """Over the name as well, since single digits are made of the same scans."""
        return hashlib.sha256(f"{self.name} {scans_sha256()}".encode()).hexdigest()

    def images(self, split: Split, draw: Draw, labels_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Image n is the two scans and warps that `draw` gives n: (B, 3, 16, 32) in [-1, 1] and labels (B,).

        With `labels_B` the left digit's class is uniform and the right one's is what makes the sum.
        """
        left_B = right_B = None
        if labels_B is not None:
            left_B = draw.integers("left digit", N_CLASSES)
            right_B = (labels_B - left_B) % N_CLASSES
        left_B3HW, left_B = digits_of(split, draw, left_B, "left ")
        right_B3HW, right_B = digits_of(split, draw, right_B, "right ")
        return torch.cat([left_B3HW, right_B3HW], dim=3), (left_B + right_B) % N_CLASSES

    def folder(self, split: Split) -> Path | None:
        """None: pairs are drawn."""
        del split
        return None

    def weights(self, name: str) -> Path | None:
        """Bundled weights: "var/tokenizer", "var/teacher", and the single digits' "features"."""
        return folder_finder(HOME / "weights", "" if name == "features" else PREFIX)(name)


def digit_sums(_config: object = None) -> DigitSums:
    """The dataset offer's target; there is nothing to configure."""
    return DigitSums()
