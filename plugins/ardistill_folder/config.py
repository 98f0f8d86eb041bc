"""The words of `data=folder` and `data=classes`. No torch here."""

from pathlib import Path

import attrs
from attrs.validators import ge, le

MOST = 1 << 14
"""Pixels along a side; no model makes larger images."""


@attrs.frozen(kw_only=True)
class FolderConfig:
    """Images in folders, one for each class; classes are numbered in the order of their names."""

    path: Path
    """The training images: what samples are judged against, where no other reference is given."""
    size: int = attrs.field(default=256, validator=[ge(1), le(MOST)])
    """Pixels along a side; images are scaled to cover that and cropped to their centre."""
    held_out: Path | None = None
    """Other images of the same classes, for the held-out distance."""
    features: str = "inception"
    """The feature network that judges samples."""


@attrs.frozen(kw_only=True)
class ClassesConfig:
    """Classes without images."""

    n: int = attrs.field(default=1000, validator=ge(1))
    """How many classes."""
    size: int = attrs.field(default=256, validator=[ge(1), le(MOST)])
    """Pixels along a side of the images that the teacher makes."""
    features: str = "inception"
    """The feature network that judges samples."""
