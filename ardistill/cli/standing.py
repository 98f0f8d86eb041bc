"""How the runs of a sweep stand, and how they compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ardistill.cli.terminal import print_table
from ardistill.errors import RunFolderError
from ardistill.files import write_atomic
from ardistill.launch import folder as folders
from ardistill.launch.remote import state
from ardistill.launch.sweeping.shelf import SWEEP, Shelf
from ardistill.wording import message_of

if TYPE_CHECKING:
    from ardistill.evaluation.tables.comparison import Entry  # which imports torch

COLUMNS = ("run", "state", "at", "checkpoint", "job", "")


def show_status(folder: Path) -> int:
    """The table of states, and the comparison where all are finished. Takes a run's folder as well."""
    if not (folder / SWEEP).is_file() and (folder / folders.CONFIG).is_file():
        show_states(folder.parent, [folder])
        return 0
    shelf = Shelf.read(folder)
    if all(found.word == state.FINISHED for found in show_states(folder, shelf.runs())):
        print()
        _lay_side_by_side(folder, shelf.runs())
    return 0


def show_states(folder: Path, runs: Sequence[Path]) -> list[state.State]:
    found = state.states(runs)
    print_table([(run.name, *_told(each)) for run, each in zip(runs, found, strict=True)], COLUMNS)
    counts = {
        word: sum(each.word == word for each in found) for word in dict.fromkeys(each.word for each in found)
    }
    print(f"{folder}: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    return found


def _told(found: state.State) -> tuple[str, ...]:
    age = "" if found.age is None else _ago(found.age)
    return found.word, found.progress, age, found.job, found.note


def _ago(seconds: float) -> str:
    """How long ago, in the largest unit that fits.

    >>> _ago(7300)
    '2 h ago'
    """
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    unit, size = next(((unit, size) for unit, size in units if seconds >= size), units[-1])
    return f"{int(seconds / size)} {unit} ago"


def compare(folder: Path) -> int:
    """Lays those runs of a sweep side by side that are finished."""
    runs = [run for run in Shelf.read(folder).runs() if (run / folders.REPORT).is_file()]
    if not runs:
        raise RunFolderError(f"no run of {folder} is finished yet; look at them with: sweep status {folder}")
    _lay_side_by_side(folder, runs)
    return 0


def _lay_side_by_side(folder: Path, runs: Sequence[Path]) -> None:
    """One table and picture; several where runs of other teachers, data or protocols can't stand beside each other."""
    from ardistill.evaluation.tables.chart import chart
    from ardistill.evaluation.tables.comparison import compare as compared
    from ardistill.evaluation.tables.table import print_comparison

    groups, reason = _groups(runs)
    for number, group in enumerate(groups, start=1):
        comparison = compared(group)
        picture = folder / ("compare.png" if len(groups) == 1 else f"compare-{number}.png")
        if len(groups) > 1:
            print(f"\n{', '.join(entry.where for entry in group)}:")
        print_comparison(comparison)
        write_atomic(picture, chart(comparison.lines))
        print(f"\n{picture}")
    if reason:
        print(f"{len(groups)} tables, since {reason}")


def _groups(runs: Sequence[Path]) -> "tuple[list[list[Entry]], str]":
    """Runs that can be compared with each other, and why they are not all of them."""
    from ardistill.evaluation.report import Report
    from ardistill.evaluation.tables.comparison import Entry
    from ardistill.evaluation.tables.comparison import compare as compared

    groups: list[list[Entry]] = []
    reason = ""
    for run in runs:
        file = (run / folders.REPORT).resolve()
        entry = Entry(file, Report.load(file))
        for group in groups:
            try:
                compared([*group, entry])
            except RunFolderError as error:
                reason = reason or message_of(error).partition(";")[0]
                continue
            group.append(entry)
            break
        else:
            groups.append([entry])
    return groups, reason if len(groups) > 1 else ""
