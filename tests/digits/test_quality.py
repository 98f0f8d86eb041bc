"""The promises of the bundled weights, measured as README.md says but with fewer images."""

import pytest
from ardistill_digits.data import Digits
from ardistill_digits.quality import Row, quality

pytestmark = pytest.mark.slow
N = 2000


@pytest.fixture(scope="module", params=["var", "llamagen"])
def rows(request: pytest.FixtureRequest) -> dict[str, Row]:
    return {row.name: row for row in quality(Digits(), Digits().weights, N, name=request.param)}


def test_the_feature_network_knows_digits_it_never_saw(rows: dict[str, Row]) -> None:
    assert rows["real, held out"].accuracy >= 0.985


def test_the_tokenizer_keeps_the_digit(rows: dict[str, Row]) -> None:
    coded = rows["the same, encoded and decoded"]
    assert coded.accuracy >= 0.97
    assert coded.fid_test < rows["real, held out"].fid_train


def test_the_teachers_samples_are_recognisable(rows: dict[str, Row]) -> None:
    assert rows["teacher"].accuracy >= 0.95 * rows["real, held out"].accuracy


def test_the_teacher_is_within_twice_the_floor(rows: dict[str, Row]) -> None:
    assert rows["teacher"].fid_test <= 2 * rows["real, held out"].fid_train


def test_independent_tokens_visibly_fail(rows: dict[str, Row]) -> None:
    assert rows["onestep*"].fid_test >= 2.5 * rows["teacher"].fid_test
    assert rows["onestep*"].accuracy < rows["teacher"].accuracy - 0.03
