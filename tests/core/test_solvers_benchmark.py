"""The solvers' benchmark: its yardstick, its made-up distributions, and a small run."""

import json
import math

import pytest
import torch

from ardistill.solvers import DEFAULT_EVALUATIONS, DEFAULT_SOLVER
from tests.scripts import loaded


@pytest.fixture(scope="module")
def benchmark():
    threads = torch.get_num_threads()
    yield from loaded("solvers")
    torch.set_num_threads(threads)


def test_the_distance_is_chi_square_in_its_deviations(benchmark):
    p_V = torch.tensor([0.5, 0.25, 0.25])
    exact_n = torch.tensor([0] * 50 + [1] * 25 + [2] * 25)
    assert benchmark.distance(exact_n, p_V) == pytest.approx((-1, 0))
    shifted_n = torch.tensor([0] * 60 + [1] * 20 + [2] * 20)
    assert benchmark.distance(shifted_n, p_V) == pytest.approx(((2 + 1 + 1 - 2) / 2, 0.1))


def test_rare_tokens_count_as_one(benchmark):
    p_V = torch.cat([torch.tensor([0.45, 0.45]), torch.full((100,), 0.001)])
    tokens_n = torch.tensor([0] * 450 + [1] * 450 + [2] * 100)
    z, variation = benchmark.distance(tokens_n, p_V)
    assert z == pytest.approx(-2 / math.sqrt(4))
    assert variation == pytest.approx(0.099)


@pytest.mark.parametrize(("name", "kept"), [("like-var", (1, 900)), ("like-llamagen", (8_000, 8_000))])
def test_made_up_distributions_are_filtered_as_the_large_teachers_are(benchmark, name, kept):
    case = benchmark.problem(name, 0)
    torch.testing.assert_close(case.log_p_NV.exp().sum(-1), torch.ones(len(case.log_p_NV)))
    support_N = case.log_p_NV.isfinite().sum(-1)
    assert kept[0] <= int(support_N.min())
    assert int(support_N.max()) <= kept[1]


def test_a_small_run(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "_REFERENCE_STEPS", 100)
    monkeypatch.setattr(benchmark, "_POSITIONS", 200)
    monkeypatch.setattr(benchmark, "SOLVES", (("euler", 5), (DEFAULT_SOLVER, DEFAULT_EVALUATIONS)))
    out = tmp_path / "solvers.json"
    assert benchmark.main(["codes=exact-sparse", "n=4000", f"out={out}"]) == 0
    record = json.loads(out.read_text())
    reference, coarse, default = record["figures"]
    assert reference["agreement"] > 0.99
    assert coarse["agreement"] < default["agreement"]
    assert coarse["z"] > 10 > 5 > default["z"]
    assert record["config"]["codes"] == "exact-sparse"
    assert record["hardware"]["threads"] == 1
    told = capsys.readouterr().out
    assert "exact-sparse  euler" in told
    assert f"torch {record['versions']['torch']}" in told


@pytest.mark.parametrize("name", ["like-var", "like-llamagen"])
def test_ways_to_compute_take_turns_and_agree(benchmark, name, monkeypatch, tmp_path, capsys):
    """Without a compiler; that is what test_flow has."""
    monkeypatch.setattr(benchmark, "_ROUNDS", 1)
    monkeypatch.setattr(benchmark, "_POSITIONS_LARGE", 2)
    monkeypatch.setattr(benchmark.posteriors, "_compiled", lambda: benchmark.posteriors._mean)
    out = tmp_path / "ways.json"
    assert benchmark.main(["ways=true", f"codes={name}", f"out={out}"]) == 0
    filtered, *equally = json.loads(out.read_text())["figures"]
    assert [round(1 / each["share"]) for each in equally] == [32, 16, 12, 8, 6, 4, 2]
    assert filtered["share"] < 0.5
    assert all(each["agreement"] == 1 and each["few"] > 0 for each in (filtered, *equally))
    assert f"{name}" in capsys.readouterr().out
    assert benchmark.posteriors._FEW_CPU < 1, "what the benchmark set is set back"


def test_every_solver_is_measured_and_so_is_the_default(benchmark):
    assert {solver for solver, _ in benchmark.SOLVES} == {"euler", "heun", "multistep"}
    assert (DEFAULT_SOLVER, DEFAULT_EVALUATIONS) in benchmark.SOLVES


def test_a_wrong_word_is_one_sentence(benchmark, capsys):
    assert benchmark.main(["codes=digits"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
