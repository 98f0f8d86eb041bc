"""The benchmark of collection measures both kinds of work, and judges the ratio of their medians."""

import json

import pytest

from tests.scripts import loaded


@pytest.fixture(scope="module")
def benchmark():
    yield from loaded("collection")


def test_a_tiny_teacher_is_measured_and_the_figures_are_kept(benchmark, tmp_path, capsys):
    words = ["teacher=tiny", "batch=2", "rounds=3", "trajectory.evaluations=2", f"out={tmp_path / 'a.json'}"]
    assert benchmark.main([*words, "bound=1e9"]) == 0
    said = capsys.readouterr().out
    for word in ("plain images/s", "pairs/s", "ratio", "ok", "'evaluations': 2", "torch", "cpu"):
        assert word in said
    record = json.loads((tmp_path / "a.json").read_text())
    assert set(record) == {"figure", "config", "hardware", "versions", "date"}
    plain, collected = record["figure"]["plain"], record["figure"]["collected"]
    assert len(plain) == len(collected) == 3
    assert min(plain + collected) > 0
    assert record["figure"]["ratio"] == pytest.approx(sorted(collected)[1] / sorted(plain)[1])
    assert benchmark.main([*words, "bound=1e-9"]) == 1
    assert "MISSED" in capsys.readouterr().out


@pytest.mark.parametrize(("collected", "missed"), [(1.14, False), (1.16, True), (float("nan"), True)])
def test_the_bound_is_missed_from_above(benchmark, collected, missed):
    figure = benchmark.Figure("tiny", 2, (1.0, 9.0, 1.0), (collected, collected, 9.0), 0.0, 1.15)
    assert benchmark.BOUND == 1.15
    assert figure.missed is missed


def test_the_teachers_have_the_published_sizes(benchmark):
    """Told by their configurations, since building them takes long."""
    model, tokenizer = benchmark.var.PRESETS["d16"]
    assert (model.depth, model.n_tokens, tokenizer.vocab) == (16, 680, 4096)
    model = benchmark.llamagen.PRESETS["c2i-B"]
    assert (model.n_layer, model.dim, model.block_size, model.vocab_size) == (12, 768, 256, 16384)
    assert benchmark.VAR_GUIDANCE.top_k == 900
    assert benchmark.LLAMAGEN_GUIDANCE.scale == 2.0


@pytest.mark.parametrize(
    "word", ["teacher=foo", "batch=0", "trajectory=nothing", "device=cuda:77", "out=/nowhere/a.json"]
)
def test_bad_words_are_one_sentence_and_exit_2(benchmark, capsys, word):
    assert benchmark.main(["rounds=1", *([] if word.startswith("teacher") else ["teacher=tiny"]), word]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
