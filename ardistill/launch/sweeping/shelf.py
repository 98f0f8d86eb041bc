"""sweep.json: the cells of a sweep, the words that made them, and the jobs they were handed to."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import cattrs

from ardistill.errors import RunFolderError
from ardistill.files import json_text, write_atomic
from ardistill.launch.sweeping.cells import Cell

SWEEP = "sweep.json"


@attrs.frozen
class Shelf:
    """A sweep in its folder; each cell's run lies in a folder of the cell's name. `jobs` are by that name."""

    folder: Path
    words: tuple[str, ...]
    cells: tuple[Cell, ...]
    jobs: Mapping[str, str] = attrs.field(factory=dict)
    made: str = attrs.field(factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def run(self, cell: Cell) -> Path:
        return self.folder / cell.name

    def runs(self) -> list[Path]:
        return [self.run(cell) for cell in self.cells]

    def with_jobs(self, jobs: Mapping[str, str]) -> "Shelf":
        """With what cells were handed to just now, written."""
        changed = attrs.evolve(self, jobs={**self.jobs, **jobs})
        changed.write()
        return changed

    def write(self) -> None:
        told = {key: value for key, value in attrs.asdict(self).items() if key != "folder"}
        write_atomic(self.folder / SWEEP, json_text(told))

    @classmethod
    def make(cls, folder: Path, words: Sequence[str], cells: Sequence[Cell]) -> "Shelf":
        """A new sweep in a folder that is new, or empty."""
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                hint = f", or go on with: sweep resume {folder}" if (folder / SWEEP).is_file() else ""
                raise RunFolderError(f"{folder} exists and is not empty; give another out=DIR{hint}")
            folder.mkdir(parents=True, exist_ok=True)
            made = cls(folder, tuple(words), tuple(cells))
            made.write()
        except OSError as error:
            raise RunFolderError(
                f"{folder} can't be made a sweep's folder ({error.strerror}); give out=DIR"
            ) from error
        return made

    @classmethod
    def read(cls, folder: Path) -> "Shelf":
        """Raises RunFolderError where the folder holds no sweep, or a damaged record of one."""
        try:
            told = json.loads((folder / SWEEP).read_text("utf-8"))
        except OSError as error:
            raise RunFolderError(
                f"{folder} is not a sweep's folder: it holds no {SWEEP} to read; give one that `sweep` has made"
            ) from error
        except (ValueError, RecursionError) as error:
            raise _damaged(folder) from error
        try:
            found: Shelf = cattrs.structure({**told, "folder": str(folder)}, cls)
        except Exception as error:  # whatever a damaged record makes its reader raise
            raise _damaged(folder) from error
        if any(Path(cell.name).name != cell.name for cell in found.cells):
            raise _damaged(folder)
        return found


def _damaged(folder: Path) -> RunFolderError:
    return RunFolderError(
        f"{folder / SWEEP} is not as `sweep` writes it; go on with single runs by: run resume={folder}/RUN"
    )
