"""The benchmark's presets are valid words, give way to words of the user's, and its errors are one sentence."""

import pytest

from tests.scripts import loaded


@pytest.fixture(scope="module")
def benchmark():
    yield from loaded("exact")


def test_presets_are_valid_and_give_way(benchmark):
    for method, teachers in benchmark.PRESETS.items():
        for teacher in teachers:
            assert benchmark.configured([f"method={method}"], teacher).method.name == method
    chosen = benchmark.configured(["method=dd2", "method.score_form=sid", "method.batch=7"], "sparse")
    assert (chosen.method.settings.score_form, chosen.method.settings.batch) == ("sid", 7)
    assert chosen.method.settings.csd_ratio == 1


@pytest.mark.parametrize(
    ("passes", "student", "bound", "missed"),
    [
        (1, 0.3, 0.4, False),
        (1, 0.4, 0.4, False),
        (1, 0.5, 0.4, True),
        (1, 9.0, None, False),
        (2, 0.3, 0.4, False),
        (2, 0.4, 0.4, True),
    ],
)
def test_one_pass_keeps_its_bound_and_another_betters_it(benchmark, passes, student, bound, missed):
    figure = benchmark.Figure("sparse", "total variation", passes, student, 0.0, 1.0, bound, 1.0, 1.0)
    assert figure.missed is missed


def test_a_bound_is_a_distance_or_a_share_of_the_baselines(benchmark):
    assert benchmark.Bound(distance=0.12).of(0.65) == 0.12
    assert benchmark.Bound(share=0.1).of(0.65) == pytest.approx(0.065)


def test_a_student_of_two_jumps_is_measured_in_both(benchmark):
    words = ["method=dd1", "method.images=512", "method.n_pairs=300"]
    benchmark._SAMPLES["dense"] = 400
    figures = benchmark.measure(words, "dense")
    assert [figure.passes for figure in figures if figure.measure == "energy distance"] == [1, 2]
    first, second = (figure for figure in figures if figure.measure == "energy distance")
    assert first.bound == pytest.approx(0.1 * first.baseline)
    assert second.bound is None
    coarse = [figure for figure in figures if figure.measure == "coarse total variation"]
    assert [figure.bound for figure in coarse] == [None, coarse[0].student]


def test_not_a_number_misses_its_bound(benchmark):
    assert benchmark.Figure("sparse", "total variation", 1, float("nan"), 0.0, 1.0, 0.4, 1.0, 1.0).missed


@pytest.mark.parametrize("word", ["teacher=foo", "seed=-1", "method=dd3", "method.alpha=nan"])
def test_bad_words_are_one_sentence_and_exit_2(benchmark, capsys, word):
    assert benchmark.main([word]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
