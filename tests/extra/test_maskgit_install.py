"""plugins/extra/ardistill-maskgit as its users get it: installed by pip, in an environment of its own.

That environment sees what is installed here through a line in a .pth file, so nothing is downloaded: hatchling, which
builds the package, is in the test group.
"""

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packages, pytest.mark.timeout(1800)]

PACKAGE = Path(__file__).parents[2] / "plugins" / "extra" / "ardistill-maskgit"
TINY = ["method.n_pairs=64", "method.images=128", "method.batch=32", "eval.n=100", "eval.steps=1"]


class Installed:
    """The environment's interpreter, run in an empty folder."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        self.folder = folder / "empty"
        self.folder.mkdir()
        self.site = Path(self("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (self.site / "what-is-here.pth").write_text(line)
        # Copied, so that pip's leavings do not lie in the repository.
        source = shutil.copytree(PACKAGE, folder / "source")
        self("-m", "pip", "install", "--no-index", "--no-build-isolation", str(source))

    def __call__(self, *words: str) -> str:
        """What a command says; fails with all of it where the command does."""
        without = {"PYTHONPATH", "PYTHONHOME", "ARDISTILL_PLUGINS"}
        environment = {key: value for key, value in os.environ.items() if key not in without}
        done = subprocess.run(
            [self.python, *words],
            cwd=self.folder,
            env={**environment, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("maskgit"))


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
    lines = [line.split() for line in installed("-m", "ardistill", "plugins").splitlines()]
    mine = {tuple(words[:2]) for words in lines if words[-2:] == ["ardistill-maskgit", "0.1"]}
    assert mine == {("teacher", "maskgit"), ("student", "maskgit-dd1"), ("recipe", "maskgit")}


def test_it_passes_its_own_tests(installed):
    tests = shutil.copytree(PACKAGE / "tests", installed.folder / "tests")
    said = installed("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tests))
    assert " passed" in said
    assert " skipped" not in said


def test_dd1_distils_it(installed):
    words = ["method=dd1", "teacher=maskgit", "threads=1", "out=run", "eval.speed.repeats=1", *TINY]
    installed("-m", "ardistill", "run", *words)
    report = json.loads((installed.folder / "run" / "report.json").read_text())
    names = [row["name"] for row in report["rows"]]
    assert "teacher" in names
    assert "dd1, 1 pass" in names
    installed("-m", "ardistill", "sample", "run=run", "classes=7", "n=1", "out=seven.png")
    assert (installed.folder / "seven.png").stat().st_size > 0
