"""How good the teacher is: python -m ardistill_maskgit.quality [teacher.steps=5] [teacher.cfg=0.25] [n=5000]

Prints class accuracy and Frechet distances to training and to held-out digits, of real held-out digits (whose
distance to training digits is the floor) and of the teacher's samples, n of each, all classes alike.
"""

import sys

import attrs
from ardistill_digits.data import Digits
from ardistill_digits.features import load_features
from ardistill_digits.quality import Judge, Row, balanced, decoded, sample
from attrs.validators import ge

from ardistill.config import structure_words
from ardistill.evaluation.extraction import features_of
from ardistill_maskgit.loading import load_teacher
from ardistill_maskgit.settings import MaskGITTeacherSettings


@attrs.frozen(kw_only=True)
class QualityConfig:
    """The words of this command."""

    teacher: MaskGITTeacherSettings = attrs.field(factory=MaskGITTeacherSettings)
    n: int = attrs.field(default=5000, validator=ge(100))
    seed: int = attrs.field(default=0, validator=ge(0))


def quality(config: QualityConfig) -> tuple[Row, Row]:
    """Of real held-out digits, and of the teacher's."""
    data = Digits()
    teacher, network = load_teacher(config.teacher, data.weights), load_features(data.weights)
    train_N3HW, _ = balanced(data, "train", config.n, config.seed)
    test_N3HW, labels_N = balanced(data, "test", config.n, config.seed)
    judge = Judge(network, features_of(network, train_N3HW), features_of(network, test_N3HW))
    judge.add("real, held out", test_N3HW, labels_N)
    tokens_NL, labels_N = sample(teacher, config.n, config.seed)
    judge.add(f"teacher, {teacher.layout.n_steps} passes", decoded(teacher, tokens_NL), labels_N)
    real, made = judge.rows
    return real, made


def main(words: list[str]) -> None:
    print(f"{'images':20}  accuracy  FID to train  FID to held-out")
    for row in quality(structure_words(words, QualityConfig)):
        print(f"{row.name:20}  {row.accuracy:8.4f}  {row.fid_train:12.3f}  {row.fid_test:15.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
