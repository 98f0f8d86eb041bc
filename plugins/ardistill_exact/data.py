"""The exact chains as data: "real" images are draws from the known joint, and the features are the latents themselves.

Legend: B batch, L tokens, F features, H W pixels.
"""

from pathlib import Path
from typing import Self

import attrs
import torch
from torch import Tensor

from ardistill.protocols import Condition, Draw, Split, WeightsFinder
from ardistill.sampling import teacher_tokens
from ardistill_exact.config import DenseConfig, SparseConfig
from ardistill_exact.teacher import ExactTeacher, dense_teacher, sparse_teacher


@attrs.frozen(eq=False)
class ExactData:
    """Draws of one chain (`Dataset`); the splits are two sets of them."""

    name: str
    teacher: ExactTeacher
    features: str = "exact"
    splits: tuple[Split, ...] = ("train", "test")

    @property
    def n_classes(self) -> int:
        return self.teacher.n_classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.teacher.tokenizer.image_shape

    @property
    def sha256(self) -> str:
        """The digest of the chain's tables."""
        return str(self.teacher.constants["tables"])

    def images(self, split: Split, draw: Draw, labels_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, 3, 1, L) and labels (B,), uniform where none are given."""
        if labels_B is None:
            labels_B = draw.integers("label", self.n_classes)
        uniform_BL = draw.uniform(f"{split} token", self.teacher.layout.n_tokens)
        tokens_BL = teacher_tokens(self.teacher, Condition(labels_B.cpu()), uniform_BL.cpu())
        images_B3HW = self.teacher.tokenizer.decode(self.teacher.tokenizer.codebook[tokens_BL])
        return images_B3HW.to(uniform_BL.device), labels_B

    def folder(self, split: Split) -> Path | None:
        del split
        return None

    def weights(self, name: str) -> Path | None:
        del name
        return None


class Latents:
    """Pixels as features, since a pixel is a token's code (`FeatureNetwork`); tells no classes."""

    name = "exact"
    n_features = 12

    def __call__(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 1, L) -> features (B, 3 L) and no logits."""
        return images_B3HW.float().flatten(1), images_B3HW.new_zeros(len(images_B3HW), 0)

    def to(self, device: torch.device | str) -> Self:
        del device
        return self


def sparse_data(config: SparseConfig) -> ExactData:
    """The target of `data=exact-sparse`."""
    return ExactData("exact-sparse", sparse_teacher(config, _nothing))


def dense_data(config: DenseConfig) -> ExactData:
    """The target of `data=exact-dense`."""
    return ExactData("exact-dense", dense_teacher(config, _nothing))


def latents(weights: WeightsFinder) -> Latents:
    """The target of the features offer; there are no weights."""
    del weights
    return Latents()


def _nothing(name: str) -> None:
    del name
