"""Further figures by plugins: the bundled one, and what a report makes of them."""

import attrs
import pytest
import torch
from ardistill_fidelity.config import DiversityConfig
from ardistill_fidelity.diversity import Diversity
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill.__main__ import main
from ardistill.errors import DataError, PluginError
from ardistill.evaluation.metrics import Metrics
from ardistill.evaluation.report import Report

IMAGES = torch.zeros(1, 1, 1, 1)


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(2, 4), st.integers(0, 99), st.integers(1, 7))
def test_diversity_is_the_mean_distance_of_pairs_of_a_class_however_they_come(n, classes, seed, batch):
    rng = torch.Generator().manual_seed(seed)
    features_NF = torch.randn(n, 5, generator=rng)
    labels_N = torch.randint(classes, (n,), generator=rng)
    metric = Diversity(DiversityConfig())
    for start in range(0, n, batch):
        rows = slice(start, start + batch)
        metric.update(IMAGES, labels_N[rows], features_NF[rows])
    means = []
    for label in set(labels_N.tolist()):
        own = features_NF[labels_N == label]
        pairs = [(own[i] - own[j]).norm() for i in range(len(own)) for j in range(i)]
        means += [torch.stack(pairs).mean()] if pairs else []
    if means:
        assert metric.result()["diversity"] == pytest.approx(float(torch.stack(means).mean()), rel=1e-5)
    else:
        with pytest.raises(DataError, match="none has two"):
            metric.result()


def test_of_a_class_only_the_first_images_are_compared():
    metric = Diversity(DiversityConfig(per_class=2))
    metric.update(IMAGES, torch.zeros(3, dtype=torch.int64), torch.tensor([[0.0], [1.0], [99.0]]))
    assert metric.result() == {"diversity": 1.0}


@attrs.frozen
class Constant:
    figures: dict

    def update(self, images_BCHW, labels_B, features_BF):
        pass

    def result(self):
        return self.figures


def test_two_metrics_of_one_figure_and_figures_that_are_none_are_refused():
    twice = Metrics({"one": lambda: Constant({"a": 1}), "two": lambda: Constant({"a": 2})}).begin()
    with pytest.raises(PluginError, match="a is given by two metrics, two the second; leave one out"):
        twice.results()
    with pytest.raises(PluginError, match="metric one gives a=nan, which is no finite number"):
        Metrics({"one": lambda: Constant({"a": float("nan")})}).begin().results()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    run = tmp_path_factory.mktemp("metrics") / "run"
    words = ["teacher=var", "threads=1", "eval.n=50", "eval.batch=20", "eval.speed.repeats=0"]
    assert main(["run", "method=onestep*", *words, f"out={run}", "eval.metrics=diversity"]) == 0
    return run


def test_a_report_has_the_figure_of_every_row_in_its_table_its_page_and_its_protocol(
    evaluated, tmp_path, capsys
):
    report = Report.load(evaluated / "report.json")
    assert report.protocol.metrics == {"diversity": {"per_class": 500}}
    assert all(row.more["diversity"] > 0 for row in report.rows)
    assert main(["compare", str(evaluated), f"out={tmp_path / 'a.png'}"]) == 0
    assert "diversity" in capsys.readouterr().out
    assert "diversity" in (evaluated / "report.html").read_text()


def test_settings_reach_the_metric(evaluated, tmp_path):
    out = tmp_path / "again.json"
    assert main(["eval", f"run={evaluated}", "metrics.diversity.per_class=2", f"out={out}"]) == 0
    again, before = Report.load(out), Report.load(evaluated / "report.json")
    assert again.protocol.metrics == {"diversity": {"per_class": 2}}
    assert again.protocol.key != before.protocol.key
    assert again.rows[0].fid == before.rows[0].fid
    assert again.rows[0].more["diversity"] != before.rows[0].more["diversity"]


def test_unknown_metrics_and_words_are_refused_before_any_work(tmp_path, capsys):
    words = ["run", "method=onestep*", "teacher=var", f"out={tmp_path / 'run'}"]
    assert main([*words, "eval.metrics=diversty"]) == 2
    assert "unknown metric 'diversty'; did you mean diversity?" in capsys.readouterr().err
    assert main([*words, "eval.metrics.diversity.per_class=1"]) == 2
    assert "eval.metrics.diversity.per_class must be at least 2, not 1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_seeds_have_their_mean_of_it(evaluated, tmp_path, capsys):
    report = Report.load(evaluated / "report.json")
    paths = []
    for seed, value in enumerate((2.0, 4.0)):
        rows = [
            attrs.evolve(row, more={"diversity": value}, protocol=attrs.evolve(row.protocol, seed=seed))
            for row in report.rows
        ]
        paths.append(tmp_path / f"{seed}.json")
        attrs.evolve(report, rows=tuple(rows), config={**report.config, "seed": seed}).save(paths[-1])
    assert main(["compare", *map(str, paths), f"out={tmp_path / 'a.png'}"]) == 0
    said = capsys.readouterr().out
    assert "mean of 2 seeds" in said
    (mean,) = [line for line in said.splitlines() if "mean of 2 seeds" in line]
    assert "3.000" in mean.split()
