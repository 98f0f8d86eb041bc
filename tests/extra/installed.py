"""A package of plugins/extra as its users get it: installed by pip, in an environment of its own.

That environment sees what is installed here through a line in a .pth file, so nothing is downloaded: hatchling, which
builds the package, is in the test group.
"""

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

EXTRA = Path(__file__).parents[2] / "plugins" / "extra"


class Installed:
    """The environment's interpreter, run in an empty folder."""

    def __init__(self, package: Path, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        self.folder = folder / "empty"
        self.folder.mkdir()
        self.site = Path(self("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (self.site / "what-is-here.pth").write_text(line)
        # Copied, so that pip's leavings do not lie in the repository.
        source = shutil.copytree(package, folder / "source")
        self.package = package
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

    def offers(self) -> set[tuple[str, str]]:
        """The kinds and names that `plugins` lists of the package."""
        name = self.package.name
        lines = [line.split() for line in self("-m", "ardistill", "plugins").splitlines()]
        return {tuple(words[:2]) for words in lines if words[-2:] == [name, "0.1"]}

    def passes_its_own_tests(self) -> None:
        tests = shutil.copytree(self.package / "tests", self.folder / "tests")
        said = self("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tests))
        assert " passed" in said
        assert " skipped" not in said
