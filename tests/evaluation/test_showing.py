"""What is looked at: the same classes and the same noise for everybody."""

import attrs
import pytest
import torch

from ardistill.evaluation.showing import columns_of, shown
from tests.evaluation.fakes import FakeDataset, FakeTeacher, Z

TEACHER = FakeTeacher()


class Telling(FakeDataset):
    """Every pixel tells the label."""

    def images(self, split, draw, labels_B=None):
        assert split == "train"
        return (labels_B.reshape(-1, 1, 1, 1) * 0.5 - 0.5).expand(-1, 1, 4, 4), labels_B


@pytest.mark.parametrize("lines", [1, 3])
def test_classes_line_by_line(lines):
    candidates = [TEACHER.candidate("teacher"), TEACHER.candidate("student")]
    images = shown(candidates, TEACHER, Telling(TEACHER), lines=lines, seed=0)
    assert list(images) == ["real", "teacher", "student"]
    assert ((images["real"].mean((1, 2, 3)) + 0.5) / 0.5).tolist() == list(range(Z)) * lines
    assert all(len(each) == Z * lines for each in images.values())


def test_same_noise_for_all_and_another_for_another_seed():
    candidates = [TEACHER.candidate("one"), TEACHER.candidate("other"), TEACHER.candidate("x", mixed=1.0)]
    images = shown(candidates, TEACHER, FakeDataset(TEACHER), lines=4, seed=0)
    assert images["one"].equal(images["other"])
    assert not images["one"].equal(images["x"])
    again = shown(candidates, TEACHER, FakeDataset(TEACHER), lines=4, seed=1)
    assert not images["one"].equal(again["one"])
    assert images["real"].equal(again["real"])


def test_data_without_images():
    class Known(FakeDataset):
        splits = ()

    candidates = [attrs.evolve(TEACHER.candidate("student"))]
    assert list(shown(candidates, TEACHER, Known(TEACHER), lines=1, seed=0)) == ["student"]


@pytest.mark.parametrize(
    ("n", "classes"), [(3, [0, 1, 2]), (10, list(range(10))), (1000, list(range(0, 1000, 100)))]
)
def test_columns(n, classes):
    assert list(columns_of(n)) == classes


def test_images_are_on_the_cpu_and_need_no_gradient():
    images = shown([TEACHER.candidate("s")], TEACHER, FakeDataset(TEACHER), lines=1, seed=0)["s"]
    assert images.device == torch.device("cpu")
    assert not images.requires_grad
