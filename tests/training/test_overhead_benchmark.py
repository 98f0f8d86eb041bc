"""The benchmarks of the engine: that they run, what they keep, and when a bound is missed."""

import json
import sys
import threading

import pytest

from tests.scripts import BENCHMARKS, loaded

pytestmark = pytest.mark.filterwarnings("ignore:.*tensorboard.*")


@pytest.fixture(scope="module")
def benchmark():
    """The script, imported as it imports its neighbours."""
    sys.path.insert(0, str(BENCHMARKS))
    yield from loaded("overhead")
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.split(".")[0] == "overhead_parts"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def checkpoints():
    yield from loaded("checkpoints")


def lap(benchmark, seconds, peak):
    return benchmark.Lap(seconds, 2 * seconds, peak)


def test_a_tiny_model_is_measured_and_the_figures_are_kept(benchmark, tmp_path, capsys, monkeypatch):
    for bound in ("TIME_BOUND", "MEMORY_BOUND"):
        monkeypatch.setattr(benchmark, bound, 1e9)
    threads = threading.active_count()
    words = ["model=tiny", "rounds=3", "every=8", f"folder={tmp_path}", f"out={tmp_path / 'a.json'}"]
    assert benchmark.main([*words, "both=true"]) == 0
    said = capsys.readouterr().out
    for word in (
        "s/step",
        "ratio",
        "peak MB",
        "3 rounds of 2 steps",
        "a save every 8 images",
        "torch",
        "cpu",
    ):
        assert word in said
    record = json.loads((tmp_path / "a.json").read_text())
    assert set(record) == {"figures", "config", "hardware", "versions", "date"}
    other = "engine, prefetch=false"
    assert [figure["loop"] for figure in record["figures"]] == ["bare", other, "engine", "engine, saving"]
    assert record["figures"][0]["time_ratio"] == 1
    assert min(figure["step"] for figure in record["figures"]) > 0
    assert record["figures"][3]["memory_ratio"] is None or record["figures"][3]["memory_ratio"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"], "nothing else is left"
    assert threading.active_count() == threads
    monkeypatch.setattr(benchmark, "TIME_BOUND", 1e-9)
    assert benchmark.main(words) == 1
    assert "MISSED" in capsys.readouterr().out


def test_an_engine_saves_at_the_begin_of_a_block(benchmark, tmp_path):
    """Every third as the benchmark asks for it, whose first three are not counted; each ends with a record."""
    from overhead_parts.loops import engine
    from overhead_parts.models import SIZES, method_of

    cpu, size = benchmark.usable("cpu"), SIZES["tiny"]
    images = size.batch * size.steps
    method = method_of("tiny", size, 100 * images, tmp_path, cpu)
    kept, records = [], []
    with engine(method, size.steps, 3 * images, tmp_path / "own", cpu, prefetch=True) as block:
        for _ in range(7):
            block()
            kept.append(sorted(path.name for path in (tmp_path / "own" / "checkpoints").glob("0*")))
            records.append(len((tmp_path / "own" / "metrics.jsonl").read_text().splitlines()))
    assert [len(names) for names in kept] == [0, 0, 0, 1, 1, 1, 2]
    assert records == [1, 2, 3, 4, 5, 6, 7]


def test_ratios_are_medians_of_rounds_and_a_save_is_shared_out(benchmark):
    """A machine that is twice as slow in one round changes no ratio."""
    laps = {
        "bare": [lap(benchmark, seconds, 50) for seconds in (10, 20, 10)],
        "engine": [lap(benchmark, 1.02 * seconds, 100) for seconds in (10, 20, 10)],
        "engine, saving": [lap(benchmark, 2.04 * seconds + 5, 109) for seconds in (10, 20, 10)],
    }
    config = benchmark.Benchmark(model="tiny", batch=10, steps=10, rounds=3, every=100)
    bare, engine, saving = benchmark.figures(laps, config)
    assert (bare.step, bare.time_ratio, bare.memory_ratio) == (1, 1, None)
    assert engine.time_ratio == engine.cpu_ratio == pytest.approx(1.02)
    assert saving.time_ratio == pytest.approx(1.02 + 5 / 10), "a save each 10 steps of 1 second"
    assert saving.step == pytest.approx(1.02 + 0.5)
    assert saving.memory_ratio == pytest.approx(1.09)
    assert [each.missed for each in (bare, engine, saving)] == [False, False, True]


@pytest.mark.parametrize(
    ("ratio", "memory", "missed"),
    [(1.03, 1.1, False), (1.031, 1.0, True), (1.0, 1.11, True), (1.0, None, False)],
)
def test_a_bound_is_missed_from_above(benchmark, ratio, memory, missed):
    assert (benchmark.TIME_BOUND, benchmark.MEMORY_BOUND) == (1.03, 1.1)
    assert benchmark.Figure("engine", 1.0, ratio, 9.0, 100, memory).missed is missed


def test_an_error_or_the_end_of_the_engine_ends_the_benchmark(benchmark, tmp_path):
    from overhead_parts.loops import engine
    from overhead_parts.models import SIZES, method_of

    cpu, size = benchmark.usable("cpu"), SIZES["tiny"]
    method = method_of("tiny", size, 12, tmp_path, cpu)
    with (
        pytest.raises(RuntimeError, match="the run is over"),
        engine(method, 2, 400, tmp_path / "over", cpu, prefetch=True) as block,
    ):
        [block() for _ in range(4)]
    for weight in method.network.parameters():
        weight.data.fill_(float("nan"))
    with (
        pytest.raises(Exception, match="is not finite"),
        engine(method, 2, 400, tmp_path / "own", cpu, prefetch=True) as block,
    ):
        block()


@pytest.mark.parametrize("word", ["model=foo", "steps=-1", "device=cuda:77", "rounds=x", "rounds=32"])
def test_bad_words_are_one_sentence_and_exit_2(benchmark, capsys, word):
    assert benchmark.main([*([] if word.startswith("model") else ["model=tiny"]), word]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_cost_of_saving_is_measured(checkpoints, tmp_path, capsys, monkeypatch):
    for bound in ("TIME_BOUND", "MEMORY_BOUND"):
        monkeypatch.setattr(checkpoints, bound, 1e9)
    words = ["rounds=2", "steps=1", "batch=8", "n_pairs=8", "every=80", f"out={tmp_path / 'a.json'}"]
    assert checkpoints.main(words) == 0
    assert "a checkpoint of" in capsys.readouterr().out
    record = json.loads((tmp_path / "a.json").read_text())
    assert [figure["saving"] for figure in record["figures"]] == ["none", "synchronous", "asynchronous"]
    assert record["bytes"] > 1e6
