"""plugins/extra/ardistill-maskgit, installed."""

import json
from pathlib import Path

import pytest

from tests.extra.installed import EXTRA, Installed

pytestmark = [pytest.mark.packages, pytest.mark.timeout(1800)]

PACKAGE = EXTRA / "ardistill-maskgit"
TINY = ["method.n_pairs=64", "method.images=128", "method.batch=32", "eval.n=100", "eval.steps=1"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(PACKAGE, tmp_path_factory.mktemp("maskgit"))


def test_what_is_installed_is_the_package_and_its_weights(installed):
    where = Path(
        installed("-c", "import ardistill_maskgit; print(ardistill_maskgit.__file__)").strip()
    ).parent
    assert where == installed.site / "ardistill_maskgit"
    files = {
        path.relative_to(PACKAGE / "ardistill_maskgit") for path in _files(PACKAGE / "ardistill_maskgit")
    }
    assert {path.relative_to(where) for path in _files(where)} == files
    assert Path("weights/maskgit-teacher.safetensors") in files
    assert Path("py.typed") in files


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_it_is_listed_with_its_distribution_and_version(installed):
    assert installed.offers() == {("teacher", "maskgit"), ("student", "maskgit-dd1"), ("recipe", "maskgit")}


def test_it_passes_its_own_tests(installed):
    installed.passes_its_own_tests()


def test_dd1_distils_it(installed):
    words = ["method=dd1", "teacher=maskgit", "threads=1", "out=run", "eval.speed.repeats=1", *TINY]
    installed("-m", "ardistill", "run", *words)
    report = json.loads((installed.folder / "run" / "report.json").read_text())
    names = [row["name"] for row in report["rows"]]
    assert "teacher" in names
    assert "dd1, 1 pass" in names
    installed("-m", "ardistill", "sample", "run=run", "classes=7", "n=1", "out=seven.png")
    assert (installed.folder / "seven.png").stat().st_size > 0
