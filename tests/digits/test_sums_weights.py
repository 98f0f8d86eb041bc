"""The promises of the bundled weights of pairs of digits, measured as README.md says but with fewer images."""

import pytest
import torch
from ardistill_digits.data import Digits
from ardistill_digits.features import load_sum_features
from ardistill_digits.quality import Row, bundled_teacher, quality
from ardistill_digits.sums import DigitSums
from ardistill_digits.train_sums import of_singles
from ardistill_vqgan.quantizer_training import code_usage

from ardistill.noise import Draw
from ardistill.plugins import discover
from ardistill.protocols import ARTeacher, Condition
from ardistill.sampling import teacher_tokens
from ardistill.weights import read_weights

pytestmark = pytest.mark.slow
DATA = DigitSums()


@pytest.fixture(scope="module")
def teacher() -> ARTeacher:
    return bundled_teacher("var", DATA.weights)


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.name: row for row in quality(DATA, DATA.weights, 1000)}


def test_the_files_are_small_and_fit_the_data(teacher: ARTeacher) -> None:
    size = 0
    for name in ("var/tokenizer", "var/teacher"):
        path = DATA.weights(name)
        assert path is not None
        size += path.stat().st_size
        about = read_weights(path).about
        assert about["kind"] == name.replace("/", "-")
        assert about["made_by"]["recipe"] == "digit-sums"
    assert size < 2_500_000
    assert DATA.weights("features") == Digits().weights("features")
    assert DATA.weights("llamagen/teacher") is None
    assert teacher.n_classes == DATA.n_classes
    assert teacher.tokenizer.image_shape == DATA.image_shape
    assert teacher.layout.sizes == (1, 1, 8, 32)


def test_the_registry_offers_data_and_judge() -> None:
    registry = discover()
    data = registry.load("dataset", "digit-sums")(None)
    network = registry.load("features", data.features)(data.weights)
    assert network.name == "digit-sums"


def test_the_first_token_says_which_digit_it_is(teacher: ARTeacher) -> None:
    tokenizer = of_singles(bundled_teacher("var", DATA.weights).tokenizer)
    images, labels = Digits().images("train", Draw(0, "test", 0, 2000))
    tokens = tokenizer.encode(images)
    counts = torch.zeros(len(tokenizer.codebook), 10)
    counts.index_put_((tokens[:, 0], labels), torch.ones(2000), accumulate=True)
    assert counts.amax(1).sum() / 2000 > 0.98
    assert (code_usage(tokens, len(tokenizer.codebook)) > 0).float().mean() > 0.9
    assert abs(float(tokenizer.codebook.std()) - 1) < 1e-4


def test_the_teacher_keeps_to_the_sum_and_independent_digits_do_not(rows: dict[str, Row]) -> None:
    assert rows["real, held out"].accuracy > 0.97
    assert rows["the same, encoded and decoded"].accuracy > 0.95
    assert rows["teacher"].accuracy > 0.93
    assert rows["its halves shuffled"].accuracy < 0.16
    assert rows["onestep*"].accuracy < 0.16


def test_distances_do_not_see_the_sum(rows: dict[str, Row]) -> None:
    """Why pairs are judged by accuracy: shuffled halves are as near to real pairs as the teacher's own."""
    assert rows["its halves shuffled"].fid_train < rows["teacher"].fid_train + 0.5
    assert rows["onestep*"].fid_train > 2 * rows["teacher"].fid_train


def test_the_right_digit_answers_to_the_left_one(teacher: ARTeacher) -> None:
    """Given the first token of another digit on the left, the teacher draws another digit on the right."""
    network = load_sum_features(DATA.weights).network
    labels = torch.arange(300) % 10
    draw = Draw(0, "test", 0, 300)
    images, _ = DATA.images("train", draw, labels)
    given = teacher.tokenizer.encode(images)[:, :1]
    left = network(images.chunk(2, dim=3)[0])[1].argmax(1)
    tokens = teacher_tokens(
        teacher, Condition(labels), draw.uniform("token", teacher.layout.n_tokens), prefix_tokens_Bl=given
    )
    made = teacher.tokenizer.decode(teacher.tokenizer.codebook[tokens])
    right = network(made.chunk(2, dim=3)[1])[1].argmax(1)
    assert float(((left + right) % 10 == labels).float().mean()) > 0.9
