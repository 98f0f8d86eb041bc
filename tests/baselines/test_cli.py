"""The baselines as methods, through the command line, on the bundled digits teachers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ardistill.__main__ import main
from ardistill.evaluation.report import Report
from ardistill.weights import read_weights

SMALL = ["threads=1", "method.samples=60", "eval.n=60", "eval.batch=60"]


def onestep(folder: Path | str, *words: str) -> list[str]:
    return said(["run", "method=onestep*", "teacher=var", *SMALL, f"out={folder}"], words)


def skip(folder: Path | str, *words: str) -> list[str]:
    return said(["run", "method=skip-n", "method.n=2", "teacher=llamagen", *SMALL, f"out={folder}"], words)


def said(words: list[str], otherwise: tuple[str, ...]) -> list[str]:
    """The words, some of them said otherwise."""
    keys = {word.partition("=")[0] for word in otherwise}
    return [*(word for word in words if word.partition("=")[0] not in keys), *otherwise]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One finished run of each."""
    folder = tmp_path_factory.mktemp("baselines")
    assert main(onestep(folder / "onestep")) == 0
    assert main(skip(folder / "skip")) == 0
    return folder


def test_a_report_has_a_row_for_each_baseline_the_runs_own_not_twice(runs):
    passes = {
        name: {row.name: row.passes for row in Report.load(runs / name / "report.json").rows}
        for name in ("onestep", "skip")
    }
    assert passes["onestep"] == {"teacher": 4, "skip-1": 3, "onestep*": 0}
    assert passes["skip"] == {"teacher": 16, "onestep*": 0, "skip-1": 15, "skip-2": 14}
    for name in ("onestep", "skip"):
        report = Report.load(runs / name / "report.json")
        assert report.row("onestep*").gap_real == 0
        assert report.row("teacher").gap_real == 100
        assert report.seconds["preparing"] > 0
        assert report.throughput["preparing teacher samples"] > 0
        assert not report.phase_seconds


def test_the_folder_holds_the_table_a_picture_and_no_checkpoint(runs):
    for name, size in (("onestep", (10, 30, 128)), ("skip", (10, 2, 128))):
        student = read_weights(runs / name / "student.safetensors")
        assert {key: tuple(value.shape) for key, value in student.tensors.items()} == {"log_p": size}
        assert not (runs / name / "checkpoints").exists()
        with Image.open(runs / name / "samples.png") as picture:
            assert picture.width > 600


def test_the_same_words_give_the_same_table_and_rows(runs, tmp_path):
    assert main(["run", "--config", str(runs / "skip" / "config.toml"), f"out={tmp_path / 'again'}"]) == 0
    one, two = (
        read_weights(folder / "student.safetensors").tensors for folder in (runs / "skip", tmp_path / "again")
    )
    assert one["log_p"].equal(two["log_p"])
    ours, theirs = (
        Report.load(folder / "report.json").rows for folder in (runs / "skip", tmp_path / "again")
    )
    assert [(row.name, row.fid, row.nll) for row in ours] == [(row.name, row.fid, row.nll) for row in theirs]


def test_a_run_that_was_stopped_before_its_report_goes_on(runs, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    config = (runs / "onestep" / "config.toml").read_text()
    (folder / "config.toml").write_text(config)
    assert main(["run", f"resume={folder}"]) == 0
    assert (
        read_weights(folder / "student.safetensors")
        .tensors["log_p"]
        .equal(read_weights(runs / "onestep" / "student.safetensors").tensors["log_p"])
    )
    capsys.readouterr()
    assert main(["run", f"resume={folder}"]) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["onestep", "skip"])
def test_samples_are_drawn_from_the_run_or_from_words(name, runs, tmp_path):
    by_words = {
        "onestep": ["teacher=var", "student=onestep*"],
        "skip": ["teacher=llamagen", "student=skip-n"],
    }[name]
    checkpoint = f"student.checkpoint={runs / name / 'student.safetensors'}"
    for out, words in (("a", [f"run={runs / name}"]), ("b", [*by_words, checkpoint])):
        assert main(["sample", *words, f"out={tmp_path / out}.npz", "n=20", "seed=3"]) == 0
    a, b = (np.load(tmp_path / f"{out}.npz")["arr_0"] for out in "ab")
    assert a.shape == (20, 16, 16, 3)
    assert (a == b).all()
    assert len(np.unique(a, axis=0)) == 20


def test_eval_shows_the_baselines_that_are_asked_for(runs, tmp_path):
    out = tmp_path / "more.json"
    asked = ["n=60", f"out={out}"]
    assert main(["eval", f"run={runs / 'skip'}", "baselines=onestep*,skip-3,skip-2", *asked]) == 0
    report = Report.load(out)
    assert [row.name for row in report.rows] == ["teacher", "onestep*", "skip-3", "skip-2"]
    assert report.training_seconds is None
    assert main(["eval", f"run={runs / 'skip'}", "baselines=", *asked]) == 0
    report = Report.load(out)
    assert [row.name for row in report.rows] == ["teacher", "skip-2"]
    assert all(row.gap_real is None for row in report.rows), "without onestep* there is no zero"
    assert main(["eval", f"run={runs / 'onestep'}", *asked]) == 0
    assert [row.name for row in Report.load(out).rows] == ["teacher", "skip-1", "onestep*"]


def test_a_baselines_figures_do_not_depend_on_which_others_are_shown(runs, tmp_path):
    rows = []
    for number, names in enumerate(("onestep*,skip-3", "skip-3")):
        out = tmp_path / f"{number}.json"
        assert main(["eval", f"run={runs / 'skip'}", f"baselines={names}", "n=60", f"out={out}"]) == 0
        rows.append(Report.load(out).row("skip-3"))
    assert rows[0].fid == pytest.approx(rows[1].fid, rel=1e-6)
    assert rows[0].nll == rows[1].nll


def test_the_folders_own_name_needs_no_quotes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([word for word in onestep(tmp_path, "eval.baselines=") if not word.startswith("out=")]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["onestep-var-001"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            skip("{tmp}/x", "method.n=16"),
            "skip-16 needs a teacher of more than 16 steps, and this one has 16",
        ),
        (skip("{tmp}/x", "method.n=0"), "method.n must be at least 1"),
        (skip("{tmp}/x", "method.samples=9"), "method.samples=9 leaves some of the 10 classes"),
        (skip("{tmp}/x", "eval.steps=2"), "sampled by skip-2 only"),
        (skip("{tmp}/x", "eval.baselines=skip-16"), "skip-16"),
        (skip("{tmp}/x", "eval.baselines=skp-1"), "eval.baselines: 'skp-1' is no baseline"),
        (skip("{tmp}/x", "eval.baselines=skip-1,skip-1"), "eval.baselines names skip-1 twice"),
        (["run", "method=onestep", "teacher=var"], "onestep*"),
        (["eval", "run={runs}/skip", "baselines=skip-17"], "more than 17 steps"),
        (["eval", "run={runs}/skip", "baselines=all"], "baselines: 'all' is no baseline"),
        (["sample", "run={runs}/skip", "out={tmp}/a.png", "steps=3"], "sampled by skip-2 only"),
        (
            [
                "sample",
                "teacher=var",
                "student=onestep*",
                "out={tmp}/a.png",
                "student.checkpoint={runs}/skip/student.safetensors",
            ],
            "skip-n, not of onestep*",
        ),
        (
            [
                "sample",
                "teacher=var",
                "student=skip-n",
                "out={tmp}/a.png",
                "student.checkpoint={runs}/skip/student.safetensors",
            ],
            "does not fit",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(words, told, runs, tmp_path, capsys):
    assert main([word.format(tmp=tmp_path, runs=runs) for word in words]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("ardistill: ")]
    assert (len(lines), captured.out) == (1, "")
    assert told in lines[0]
    assert not list(tmp_path.iterdir())


def test_the_plugin_is_listed(capsys):
    assert main(["plugins", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    found = {
        (offer["kind"], offer["name"]) for offer in listed["offers"] if offer["plugin"].endswith(":baselines")
    }
    assert found == {(kind, name) for kind in ("method", "student") for name in ("onestep*", "skip-n")}
    assert not listed["problems"]
