"""plugins/extra/ardistill-joint, installed."""

import json

import pytest

from tests.extra.installed import EXTRA, Installed

pytestmark = [pytest.mark.packages, pytest.mark.timeout(1800)]

TINY = ["n_pairs=500", "start_images=640", "guidance_images=480", "images=480", "closing_images=640"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(EXTRA / "ardistill-joint", tmp_path_factory.mktemp("joint"))


def test_it_is_listed_with_its_distribution_and_version(installed):
    assert installed.offers() == {("method", "joint"), ("student", "joint")}


def test_it_passes_its_own_tests(installed):
    installed.passes_its_own_tests()


def test_it_distils_draws_and_conforms(installed):
    words = ["method=joint", "teacher=var", "threads=1", "out=run", "eval.n=100", "eval.speed.repeats=1"]
    installed("-m", "ardistill", "run", *words, *(f"method.{word}" for word in TINY))
    report = json.loads((installed.folder / "run" / "report.json").read_text())
    assert {"teacher", "joint, 1 pass", "joint, 2 passes"} <= {row["name"] for row in report["rows"]}
    installed("-m", "ardistill", "sample", "run=run", "classes=7", "n=1", "out=seven.png")
    assert (installed.folder / "seven.png").stat().st_size > 0
    said = installed("-m", "ardistill", "plugins", "check", "method:joint", "method.n_pairs=200")
    assert "failed" not in said


def test_llamagen_takes_it(installed):
    words = ["method=joint", "teacher=llamagen", "threads=1", "out=raster", "eval.n=100", "eval.steps=1"]
    installed("-m", "ardistill", "run", *words, "eval.speed.repeats=0", *(f"method.{word}" for word in TINY))
    assert (installed.folder / "raster" / "student.safetensors").is_file()
