"""The package as ardistill meets it: its offers, its bundled weights, and whole runs."""

import subprocess
import sys

import pytest
from ardistill_digits.data import Digits
from ardistill_maskgit.loading import BUNDLED
from ardistill_maskgit.quality import QualityConfig, quality

import ardistill
from ardistill.__main__ import main
from ardistill.errors import ConfigError, WeightsError
from ardistill.evaluation.report import Report
from ardistill.plugins import discover
from ardistill.testing import check_teacher
from ardistill.weights import read_weights


def test_the_offers_and_all_they_name_are_there():
    registry = discover()
    mine = [found for found in registry.offers() if found.origin.distribution == "ardistill-maskgit"]
    assert {(found.offer.kind, found.offer.name) for found in mine} == {
        ("teacher", "maskgit"),
        ("student", "maskgit-dd1"),
        ("recipe", "maskgit"),
    }
    for found in mine:
        assert callable(registry.load(found.offer.kind, found.offer.name))
        assert registry.config_class(found.offer.kind, found.offer.name) is not None


def test_listing_it_imports_no_torch():
    modules = (
        "ardistill_maskgit, ardistill_maskgit.settings, ardistill_maskgit.recipe, ardistill_maskgit.order"
    )
    command = [sys.executable, "-c", f"import sys, {modules}; assert 'torch' not in sys.modules"]
    subprocess.run(command, check=True)  # noqa: S603 it is ours


def test_the_bundled_teacher_conforms():
    check_teacher(ardistill.load_teacher("maskgit", cfg=0.5))


def test_the_bundled_weights_are_small_and_say_how_they_were_made():
    assert BUNDLED.stat().st_size < 1.5e6
    assert read_weights(BUNDLED).about["made_by"]["recipe"] == "maskgit"


def test_the_bundled_teacher_draws_digits():
    """Held-out digits are as far from training digits as the floor says; the teacher may be twice as far."""
    real, made = quality(QualityConfig(n=2000))
    assert made.accuracy > 0.95
    assert made.fid_test < 2 * real.fid_train


def test_words_change_how_it_samples():
    teacher = ardistill.load_teacher("maskgit", steps=8, cfg=1.0, top_k=9, top_p=0.5, temperature=0.7)
    assert teacher.layout.n_steps == 8
    told = teacher.guidance
    assert (told.scale, told.top_k, told.top_p, told.temperature) == (1.0, 9, 0.5, 0.7)
    with pytest.raises(ConfigError, match="steps=17 is more than the 16 tokens"):
        ardistill.load_teacher("maskgit", steps=17)


def test_data_and_files_that_do_not_fit_are_refused():
    with pytest.raises(WeightsError, match=r"brings no weights for .*teacher.tokenizer.checkpoint=PATH"):
        ardistill.load_teacher("maskgit", data="exact-sparse")
    with pytest.raises(WeightsError, match="holds 'llamagen-teacher', and 'maskgit-teacher' is expected"):
        ardistill.load_teacher("maskgit", checkpoint=Digits().weights("llamagen/teacher"))


TINY = {
    "dd1": ["method.n_pairs=64", "method.images=128", "method.batch=32", "method.lpips.weight=0"],
    "dd2": [
        "method.tuning_samples=64",
        "method.tune_head_images=0",
        "method.tune_images=96",
        "method.guidance_images=96",
        "method.csd_images=192",
    ],
}


@pytest.mark.parametrize("method", TINY)
def test_methods_admit_it_and_its_student_comes_back(method, tmp_path, capsys):
    words = [
        f"method={method}",
        "teacher=maskgit",
        "threads=1",
        "eval.n=100",
        "eval.steps=1",
        f"out={tmp_path / 'r'}",
    ]
    assert main(["run", *words, *TINY[method], "eval.speed.repeats=1"]) == 0
    report = Report.load(tmp_path / "r" / "report.json")
    assert report.row("teacher").passes == 5
    assert report.row(f"{method}, 1 pass").fid > 0
    student = tmp_path / "r" / "student.safetensors"
    image = tmp_path / "seven.png"
    assert main(["sample", f"run={tmp_path / 'r'}", f"out={image}", "classes=7", "n=2"]) == 0
    assert image.stat().st_size > 0
    teacher = ardistill.load_teacher("maskgit")
    assert ardistill.load_student(student, teacher).jumps[0].start == 0
    assert "teacher" in capsys.readouterr().out
