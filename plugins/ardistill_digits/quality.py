"""How good a bundled teacher is: python -m ardistill_digits.quality [data=digit-sums] [teacher=llamagen] [n=5000]

Prints the floor (the Frechet distance between training and held-out images), the teacher's distances to both, its
class accuracy, and the same for tokens drawn independently from the teacher's frequencies (onestep*). Of pairs of
digits also the same for the teacher's own halves shuffled inside their class: sharp digits, their sum left to chance.

Legend: N images, H W pixels, L tokens.
"""

import sys
from pathlib import Path
from typing import Literal

import attrs
import torch
from ardistill_llamagen.loading import load_teacher as load_llamagen
from ardistill_llamagen.settings import LlamaGenTeacherSettings
from ardistill_var.loading import load_teacher as load_var
from ardistill_var.settings import VARTeacherSettings
from torch import Tensor

from ardistill.config import structure_words
from ardistill.evaluation.extraction import Features, features_of
from ardistill.evaluation.fidelity import frechet
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, Dataset, FeatureNetwork, Split, WeightsFinder
from ardistill.sampling import Marginals, teacher_tokens
from ardistill_digits.data import Digits, folder_finder
from ardistill_digits.features import load_features, load_sum_features
from ardistill_digits.sums import PREFIX, DigitSums

BATCH = 500

TeacherName = Literal["var", "llamagen"]
DataName = Literal["digits", "digit-sums"]


@attrs.frozen
class Row:
    """One set of images: class accuracy, distance to training images, to held-out images."""

    name: str
    accuracy: float
    fid_train: float
    fid_test: float


@attrs.frozen(eq=False)
class Judge:
    """Measures sets of images against n real images of either split."""

    network: FeatureNetwork
    train: Features
    test: Features
    rows: list[Row] = attrs.field(factory=list)

    def add(self, name: str, images_N3HW: Tensor, labels_N: Tensor) -> Features:
        """Measures a set of images, keeps its row."""
        features = features_of(self.network, images_N3HW)
        self.rows.append(
            Row(
                name,
                accuracy(features, labels_N),
                frechet(features, self.train),
                frechet(features, self.test),
            )
        )
        return features


def balanced(data: Dataset, split: Split, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Real images (N, 3, H, W) and labels (N,), all classes alike, as in the teacher's samples.

    Chance differences in how often each class occurs would count as distance: they raise the floor by a third.
    """
    draw = Draw(seed, f"quality/{split}", 0, n)
    return data.images(split, draw, draw.indices() % data.n_classes)


def accuracy(features: Features, labels_N: Tensor) -> float:
    """The share of images that the network takes for what they are."""
    return float((features.logits_NZ.argmax(1) == labels_N).float().mean())


@torch.no_grad()
def sample(teacher: ARTeacher, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """The teacher's own samples: tokens (N, L) and labels (N,), all classes alike."""
    tokens, labels = [], []
    for start in range(0, n, BATCH):
        draw = Draw(seed, "quality/teacher", start, min(BATCH, n - start))
        labels.append(draw.indices() % teacher.n_classes)
        uniform_BL = draw.uniform("token", teacher.layout.n_tokens)
        tokens.append(teacher_tokens(teacher, Condition(labels[-1]), uniform_BL))
    return torch.cat(tokens), torch.cat(labels)


@torch.no_grad()
def decoded(teacher: ARTeacher, tokens_NL: Tensor) -> Tensor:
    """Tokens -> images (N, 3, H, W)."""
    codes_VC = teacher.tokenizer.codebook
    return torch.cat(
        [teacher.tokenizer.decode(codes_VC[tokens_BL]) for tokens_BL in torch.split(tokens_NL, BATCH)]
    )


def bundled_teacher(name: TeacherName, weights: WeightsFinder) -> ARTeacher:
    if name == "llamagen":
        return load_llamagen(LlamaGenTeacherSettings(), weights)
    return load_var(VARTeacherSettings(), weights)


def shuffled_halves(images_N3HW: Tensor, n_classes: int) -> Tensor:
    """Left halves beside the right halves of the image of the same class before: classes come in turn.

    The first of every class is left out.
    """
    left_N3HW, right_N3HW = images_N3HW.chunk(2, dim=3)
    return torch.cat([left_N3HW[n_classes:], right_N3HW[:-n_classes]], dim=3)


def quality(
    data: Dataset, weights: WeightsFinder, n: int, seed: int = 0, name: TeacherName = "var"
) -> list[Row]:
    """Rows: held-out images (whose fid_train is the floor), reconstructions, the teacher, onestep*.

    Of pairs of digits also the teacher's halves shuffled.
    """
    paired = isinstance(data, DigitSums)
    network: FeatureNetwork = load_sum_features(data.weights) if paired else load_features(weights)
    teacher = bundled_teacher(name, weights)
    train_N3HW, _ = balanced(data, "train", n, seed)
    test_N3HW, labels_N = balanced(data, "test", n, seed)
    judge = Judge(network, features_of(network, train_N3HW), features_of(network, test_N3HW))
    judge.add("real, held out", test_N3HW, labels_N)
    tokens_NL = torch.cat(
        [teacher.tokenizer.encode(images_B3HW) for images_B3HW in torch.split(test_N3HW, BATCH)]
    )
    judge.add("the same, encoded and decoded", decoded(teacher, tokens_NL), labels_N)
    tokens_NL, labels_N = sample(teacher, n, seed)
    images_N3HW = decoded(teacher, tokens_NL)
    judge.add("teacher", images_N3HW, labels_N)
    if paired:
        shuffled_N3HW = shuffled_halves(images_N3HW, data.n_classes)
        judge.add("its halves shuffled", shuffled_N3HW, labels_N[data.n_classes :])
    marginals = Marginals.of(tokens_NL, labels_N, teacher.n_classes, len(teacher.tokenizer.codebook))
    uniform_NL = Draw(seed, "quality/onestep", 0, n).uniform("token", teacher.layout.n_tokens)
    judge.add("onestep*", decoded(teacher, marginals.tokens(labels_N, uniform_NL)), labels_N)
    return judge.rows


@attrs.frozen
class QualityConfig:
    """The words of this command."""

    data: DataName = "digits"
    teacher: TeacherName = "var"
    n: int = attrs.field(default=5000, validator=attrs.validators.ge(100))
    seed: int = 0
    weights: Path | None = None
    """A folder that `pretrain` filled; without it, the bundled weights."""


def main(words: list[str]) -> None:
    config = structure_words(words, QualityConfig)
    paired = config.data == "digit-sums"
    data: Dataset = DigitSums() if paired else Digits()
    finder: WeightsFinder = data.weights
    if config.weights is not None:
        finder = folder_finder(config.weights, PREFIX if paired else "")
    rows = quality(data, finder, config.n, config.seed, config.teacher)
    print(f"{'images':30}  accuracy  FID to train  FID to held-out")
    for row in rows:
        print(f"{row.name:30}  {row.accuracy:8.4f}  {row.fid_train:12.3f}  {row.fid_test:15.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
