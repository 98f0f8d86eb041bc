"""Checks and chores. All sessions share one environment, since torch alone takes gigabytes.

nox -s tests            what every change must pass, in minutes
nox -s slow             tests that train
nox -s recipes          those that train the other recipes of the documentation, some twenty minutes; CI leaves them out
nox -s browser          the report in a real browser
nox -s processes        several processes, and jobs through submitit's local executor
nox -s packages         third-party packages, installed
nox -s slurm            a real Slurm on this machine, as root
nox -s lint
nox -s docs             the documentation as pages, and its tests
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "none"

ROOT = Path(__file__).parent
SHARED = ROOT / ".nox" / "shared"
QUICK = "not slow and not browser and not slurm and not processes and not packages"
GROUPS = ("test", "lint", "browser", "docs")
TYPED = ("ardistill", "plugins", "benchmarks", "noxfile.py")
EXTRA = tuple(f"plugins/extra/ardistill-{name}/ardistill_{name}" for name in ("joint", "maskgit"))


def tool(session: nox.Session, *command: str) -> None:
    """Runs a program of the shared environment, which is made anew when pyproject.toml or the interpreter changes."""
    pyproject = (ROOT / "pyproject.toml").read_bytes()
    wanted = hashlib.sha256(pyproject + sys.version.encode()).hexdigest()
    stamp = SHARED / "stamp"
    scripts = SHARED / ("Scripts" if os.name == "nt" else "bin")
    if not stamp.exists() or stamp.read_text() != wanted:
        session.run(sys.executable, "-m", "venv", "--clear", str(SHARED), external=True)
        python = str(scripts / "python")
        session.run(python, "-m", "pip", "install", "--upgrade", "pip>=25.1", external=True)
        groups = [word for name in GROUPS for word in ("--group", name)]
        session.run(python, "-m", "pip", "install", "--editable", ".", *groups, external=True)
        stamp.write_text(wanted)
    name, *words = command
    session.run(str(scripts / name), *words, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """All but those of the sessions below; the documentation's are in `docs`."""
    tool(session, "python", "-m", "pytest", "-m", QUICK, "--ignore", "tests/docs", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that train; those of the documentation's commands are in `docs`."""
    marks = "slow and not recipes"
    tool(session, "python", "-m", "pytest", "-m", marks, "--ignore", "tests/docs", *session.posargs)


@nox.session
def recipes(session: nox.Session) -> None:
    """Recipes that CI has no time for: before a release, and after a change of a method or of the engine."""
    tool(session, "python", "-m", "pytest", "-m", "recipes", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The report in Chromium; screenshots go to $ARDISTILL_SCREENSHOTS. Installs Chromium where it may."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", external=True)
        session.run("apt-get", "install", "--yes", "--no-install-recommends", "chromium", external=True)
        found = shutil.which("chromium")
    if found is None:
        session.error("there is no Chromium; install it, or name it in the variable CHROMIUM")
    session.env["CHROMIUM"] = found
    tool(session, "python", "-m", "pytest", "-m", "browser", *session.posargs)


@nox.session
def processes(session: nox.Session) -> None:
    """torchrun, and jobs through submitit's local executor; no root needed."""
    tool(session, "python", "-m", "pytest", "-m", "processes", *session.posargs)


@nox.session
def packages(session: nox.Session) -> None:
    """Packages of their own, those of plugins/extra and begun ones: built, installed, run."""
    tool(session, "python", "-m", "pytest", "-m", "packages", *session.posargs)


@nox.session
def slurm(session: nox.Session) -> None:
    """Against a Slurm of its own; installs Debian's packages where it may."""
    lacking = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if _program(name) is None]
    if lacking and shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", external=True)
        packages = ("slurmctld", "slurmd", "slurm-client", "munge")
        session.run("apt-get", "install", "--yes", "--no-install-recommends", *packages, external=True)
        lacking = [name for name in lacking if _program(name) is None]
    if lacking or os.geteuid() != 0:
        session.error(f"it needs root and {', '.join(lacking) or 'nothing else'}")
    tool(session, "python", "-m", "pytest", "-m", "slurm", *session.posargs)


def _program(name: str) -> str | None:
    """Where a program is; servers lie outside an ordinary user's path."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and which package may import which."""
    tool(session, "ruff", "check")
    tool(session, "ruff", "format", "--check")
    tool(session, "mypy", "--strict", "--exclude", "^plugins/extra/", *TYPED)
    tool(session, "mypy", "--strict", *EXTRA)
    tool(session, "lint-imports", "--no-logo")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as pages in site/, a warning being an error, and its tests, which run every command."""
    session.env["NO_MKDOCS_2_WARNING"] = "1"
    tool(session, "mkdocs", "build", "--strict", "--config-file", "docs/site/mkdocs.yml")
    tool(session, "python", "-m", "pytest", "tests/docs", *(session.posargs or ("-m", "not browser")))


@nox.session
def parity(session: nox.Session) -> None:
    """Every fixture of a folder of recorded numbers; words go to the script."""
    tool(session, "python", "benchmarks/parity.py", *(session.posargs or ["../shared/golden"]))


@nox.session
def bench(session: nox.Session) -> None:
    """How soon the command line answers, and the exact lab's distances; words go to the latter."""
    tool(session, "python", "benchmarks/startup.py")
    tool(session, "python", "benchmarks/exact.py", *(session.posargs or ["method=dd2"]))


@nox.session
def pretrain(session: nox.Session) -> None:
    """A short run of the recipe that made the bundled weights, into a folder of its own."""
    out = session.create_tmp()
    tool(session, "python", "-m", "ardistill", "pretrain", "digits", f"out={out}/digits", "quick=true")
