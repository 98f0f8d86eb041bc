"""The figures the README and docs promise, from the commands they stand beside. Minutes each."""

import subprocess
import sys
from pathlib import Path

import pytest

from ardistill.__main__ import main
from ardistill.evaluation.report import Report
from ardistill.weights import read_weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).parents[2]
RECIPE = pytest.mark.recipes
UNTIMED = "eval.speed.repeats=0"
"""What only takes time here: how fast rows are is not looked at."""


def test_the_readmes_run_closes_the_gap(tmp_path):
    assert main(["run", "method=dd2", "teacher=var", f"out={tmp_path / 'run'}"]) == 0
    one = Report.load(tmp_path / "run" / "report.json").row("dd2, 1 pass")
    assert one.gap_real >= 85
    assert one.gap_teacher >= 92


@pytest.mark.parametrize("teacher", ["var", pytest.param("llamagen", marks=RECIPE)])
def test_dd1_closes_the_gap_and_two_passes_are_no_worse(teacher, tmp_path):
    assert main(["run", "method=dd1", f"teacher={teacher}", UNTIMED, f"out={tmp_path / 'run'}"]) == 0
    report = Report.load(tmp_path / "run" / "report.json")
    one, two = report.row("dd1, 1 pass"), report.row("dd1, 2 passes")
    assert one.gap_teacher >= 90
    assert one.gap_real >= 65
    assert two.fid <= one.fid
    assert two.fid_teacher <= one.fid_teacher


def test_a_quick_run_is_the_same_twice_and_its_digits_can_be_read(tmp_path):
    for name in ("a", "b"):
        assert main(["run", "method=dd2", "teacher=var", "quick=true", f"out={tmp_path / name}"]) == 0
    a, b = (read_weights(tmp_path / name / "student.safetensors").tensors for name in "ab")
    assert all(a[key].equal(b[key]) for key in a)
    report = Report.load(tmp_path / "a" / "report.json")
    assert report.row("dd2, 1 pass").accuracy > 0.8
    assert report.row("teacher").accuracy > 0.9


@pytest.mark.parametrize("method", ["dd1", "dd2"])
def test_the_exact_lab_keeps_its_bounds(method, tmp_path):
    out = tmp_path / "exact.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "exact.py"), f"method={method}", f"out={out}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.exists()


def test_the_recipe_of_the_bundled_weights_runs(tmp_path):
    assert main(["pretrain", "digits", f"out={tmp_path / 'made'}", "quick=true"]) == 0
    for name in ("features", "var-tokenizer", "var-teacher", "llamagen-tokenizer", "llamagen-teacher"):
        assert read_weights(tmp_path / "made" / f"{name}.safetensors").about


@RECIPE
def test_a_llamagen_is_distilled_too(tmp_path):
    assert main(["run", "method=dd2", "teacher=llamagen", UNTIMED, f"out={tmp_path / 'run'}"]) == 0
    report = Report.load(tmp_path / "run" / "report.json")
    one = report.row("dd2, 1 pass")
    assert report.row("teacher").passes == 16
    assert one.gap_real >= 70
    assert one.gap_teacher >= 75
    assert one.accuracy >= 0.9


@RECIPE
def test_one_pass_of_dd1_keeps_the_sum(tmp_path):
    """No token alone tells the class: a student has to keep the joint distribution. Half the default's images."""
    words = ["method=dd1", "teacher=var", "data=digit-sums", "method.images=128000", "eval.n=2000", UNTIMED]
    assert main(["run", *words, f"out={tmp_path / 'run'}"]) == 0
    report = Report.load(tmp_path / "run" / "report.json")
    assert report.row("teacher").accuracy >= 0.95
    assert report.row("onestep*").accuracy <= 0.15
    assert report.row("dd1, 1 pass").accuracy >= 0.85
