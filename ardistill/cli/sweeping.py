"""Beginning a sweep, and going on with one."""

import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from ardistill.cli.handing import check, ended, hand
from ardistill.cli.standing import show_states, show_status
from ardistill.config import RunConfig, Section, dump_toml, load
from ardistill.config.launching import HERE
from ardistill.config.section import absolute
from ardistill.errors import ArdistillError, ConfigError, LaunchError
from ardistill.launch import folder as folders
from ardistill.launch.lock import locked
from ardistill.launch.remote import state
from ardistill.launch.sweeping.cells import Cell, cells
from ardistill.launch.sweeping.shelf import Shelf
from ardistill.launchers import INTERRUPTED
from ardistill.plugins import Registry, discover
from ardistill.wording import printable

Configured = Mapping[Cell, RunConfig]
_EVERY = 1.0
"""Seconds between two records of a sweep's jobs."""


def begin(words: Sequence[str]) -> int:
    """A new sweep. Everything that can be refused is refused before its folder is made."""
    registry = discover()
    outs = [word for word in words if word.startswith("out=")]
    if refused := [word for word in words if word.startswith(("resume=", "--config"))]:
        raise ConfigError(f"sweep does not take {refused[0]}; give words")
    told = [word for word in words if word not in outs]
    found = cells(told, registry)
    out = load([*found[0].words, *outs], registry=registry).out or folders.free_folder(Path("runs"), "sweep")
    out = out.absolute()
    configured = {cell: _configured(cell, out, registry) for cell in found}
    check([(config, out / cell.name) for cell, config in configured.items()], registry)
    shelf = Shelf.make(out, told, found)
    with locked(out):
        return _run(shelf, configured, registry)


def go_on(folder: Path, words: Sequence[str]) -> int:
    """Runs those cells again that nothing else will bring to an end."""
    registry, shelf = discover(), Shelf.read(folder.absolute())
    with locked(shelf.folder):
        stands = dict(zip(shelf.cells, state.states(shelf.runs(), registry), strict=True))
        left = [cell for cell, found in stands.items() if found.word in state.TO_RESUME]
        if not left:
            print("nothing to resume: no run has failed, and none is missing")
            return show_status(folder)
        configured = {cell: _stored(shelf, cell, words, registry) for cell in left}
        check([(config, shelf.run(cell)) for cell, config in configured.items()], registry)
        return _run(shelf, configured, registry)


def _configured(cell: Cell, out: Path, registry: Registry) -> RunConfig:
    config = load(cell.words, registry=registry)
    return absolute(attrs.evolve(config, out=out / cell.name))  # type: ignore[no-any-return]


def _stored(shelf: Shelf, cell: Cell, words: Sequence[str], registry: Registry) -> RunConfig:
    """As the run's folder has it, with other words about the launcher; as the sweep has it where the folder is gone."""
    file = shelf.run(cell) / folders.CONFIG
    if file.is_file():
        return load(words, file, registry=registry)
    keys = {word.partition("=")[0] for word in words}
    kept = [word for word in cell.words if word.partition("=")[0] not in keys]
    return _configured(Cell(cell.name, (*kept, *words)), shelf.folder, registry)


def _run(shelf: Shelf, configured: Configured, registry: Registry) -> int:
    for cell, config in configured.items():
        if not (shelf.run(cell) / folders.CONFIG).is_file():
            folders.create(shelf.run(cell), dump_toml(config))
    launcher = next(iter(configured.values())).launcher
    if launcher.name == HERE:
        failed = [cell for cell in configured if not _run_here(shelf.run(cell), cell)]
        if failed:
            show_states(shelf.folder, shelf.runs())
            names = ", ".join(cell.name for cell in failed)
            raise LaunchError(
                f"{len(failed)} of {len(shelf.cells)} failed: {names}; go on with: sweep resume {shelf.folder}"
            )
        return show_status(shelf.folder)
    _hand_over(shelf, list(configured), launcher, registry)
    if not launcher.settings.wait:
        look = f"python -m ardistill sweep status {shelf.folder}"
        print(f"{shelf.folder}\n{len(configured)} jobs; look at them with: {look}")
        return 0
    found = ended([shelf.run(cell) for cell in configured], launcher, registry)
    show_status(shelf.folder)
    if lost := sum(each.word != state.FINISHED for each in found):
        raise LaunchError(f"{lost} of {len(found)} jobs failed; go on with: sweep resume {shelf.folder}")
    return 0


def _run_here(run: Path, cell: Cell) -> bool:
    """Whether it went well. What fails does not take the others along; Ctrl-C ends them all."""
    from ardistill.cli.run import resume, show

    print(f"\n{cell.name}: {' '.join(cell.words)}", flush=True)
    try:
        show(run, resume(run))
    except ArdistillError as error:
        print(f"ardistill: {printable(str(error))}", file=sys.stderr)
        if error.exit_code == INTERRUPTED:
            raise
        return False
    except Exception as error:
        traceback.print_exception(error)
        return False
    return True


def _hand_over(shelf: Shelf, left: Sequence[Cell], launcher: Section, registry: Registry) -> None:
    """All at once, or as its launcher lets them: one that has no queue may hand over the next when one has ended."""
    logs, name = shelf.folder / "launch", folders.safe_name(shelf.folder.name)
    jobs: dict[str, str] = {}
    wrote = 0.0
    try:
        launches = hand([shelf.run(cell) for cell in left], launcher, registry, logs, name)
        for cell, launch in zip(left, launches, strict=True):
            jobs[cell.name] = launch.job
            if time.monotonic() - wrote >= _EVERY:
                shelf, wrote = shelf.with_jobs(jobs), time.monotonic()
    finally:
        shelf.with_jobs(jobs)
