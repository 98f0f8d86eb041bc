"""A folder of pairs, as methods see it: collect the first n, take any.

Legend: n picked pairs, r pairs of a shard, L tokens, C code width.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ardistill.errors import ConfigError, DataError
from ardistill.forwards import packed
from ardistill.noise import normals
from ardistill.protocols import ARTeacher, Condition, Progress, Trajectory
from ardistill.trajectories.making import STREAM, Maker, Pairing, Tally, begin, clear
from ardistill.trajectories.origin import Origin
from ardistill.trajectories.shelf import DamagedError, Rows, Shelf

SHARD = 1000

__all__ = ["SHARD", "Pairing", "Pairs"]


class Pairs:
    """Pairs 0, 1, 2, ... of a teacher, in a folder. Make one by `at` (own, can grow) or `open` (finished)."""

    def __init__(
        self, folder: Path, teacher: ARTeacher, pairing: Pairing | None, seed: int, shard: int
    ) -> None:
        self.folder = folder
        self._teacher, self._pairing, self._seed, self._shard = teacher, pairing, seed, shard
        self._shelf: Shelf | None = None
        self._loaded: dict[int, Rows] = {}

    @classmethod
    def at(
        cls, folder: Path, teacher: ARTeacher, pairing: Pairing, seed: int, *, shard: int = SHARD
    ) -> "Pairs":
        """Pairs to be collected into `folder`, which is made at the first write, `shard` pairs a file.

        Where the folder holds pairs already, they have to be of the same origin, and its own shards' size stays.
        Raises DataError with the differing fields, ConfigError for a teacher of captions.
        """
        if not teacher.n_classes:
            raise ConfigError(
                "pairs are made for class labels, and this teacher draws captions; give the weights of a "
                "class-conditional model"
            )
        if shard < 1:
            raise ValueError(f"a shard holds at least 1 pair, not {shard}")
        pairs = cls(folder, teacher, pairing, seed, shard)
        there = Shelf.there(folder)
        if there is not None:
            pairs._use(there, pairs._own_origin())
        return pairs

    @classmethod
    def open(cls, folder: Path, teacher: ARTeacher) -> "Pairs":
        """Pairs that somebody has collected for this teacher, by whatever trajectory and seed.

        Raises DataError where there are none, or with the fields in which their teacher differs.
        """
        there = Shelf.there(folder)
        if there is None:
            raise DataError(
                f"{folder} holds no pairs; fill it with: python -m ardistill collect teacher=... n=... out={folder}"
            )
        pairs = cls(folder, teacher, None, there.origin.seed, there.size)
        pairs._use(there, there.origin.by(teacher))
        return pairs

    @property
    def origin(self) -> Origin:
        """What made the pairs, or will."""
        return self._own_origin() if self._shelf is None else self._shelf.origin

    def collect(self, n: int, *, batch: int, progress: Progress) -> int:
        """Sees to it that the first `n` pairs are there; how many were made by this process.

        Shards there are verified, damaged ones named and made anew. Other processes may do the same at the same time:
        the work is shared, and this returns when all of it is done. Raises DataError where nothing can be written.
        """
        shelf = self._begun()
        wanted = {number: min(shelf.size, n - number * shelf.size) for number in range(-(-n // shelf.size))}
        with packed(self._teacher):
            made = self._make(shelf, wanted, batch, Tally(n, progress))
        clear(shelf)
        return made

    @property
    def bytes_each(self) -> float:
        """What a pair takes on the disk, its share of the file's header included, as the first shard has it."""
        shelf = self._begun()
        rows = len(self._rows(shelf, 0, 1))
        return shelf.path(0).stat().st_size / rows if rows else 0.0

    @property
    def count(self) -> int:
        """How many leading pairs are there without a gap. Raises DataError where a shard is damaged."""
        shelf, count = self._shelf or self._found(), 0
        while shelf is not None:
            rows = len(self._rows(shelf, count // shelf.size, shelf.size))
            count += rows
            if rows < shelf.size:
                break
        return count

    def take(self, indices_n: Tensor, *, batch: int | None = None) -> Trajectory:
        """The pairs of these numbers (n,), in this order, on the teacher's device.

        With `batch`, pairs that are not there yet are collected first, whole shards of them, if these pairs are one's
        own (`at`). Raises DataError where pairs are missing or damaged, with the command that collects them.
        """
        picks_n = indices_n.cpu().numpy()
        if not len(picks_n) or picks_n.min() < 0:
            raise ValueError("pairs are taken by one number or more, from 0")
        own = batch is not None and self._pairing is not None
        shelf = self._begun() if own else self._shelf or self._found()
        if shelf is None:
            raise DataError(f"{self.folder} holds no pairs; {self._command(int(picks_n.max()))}")
        numbers_n, places_n = picks_n // shelf.size, picks_n % shelf.size
        needed = {
            int(number): int(places_n[numbers_n == number].max()) + 1 for number in np.unique(numbers_n)
        }
        if own and batch is not None:
            short = {number: shelf.size for number, n in needed.items() if not self._has(number, n)}
            self._make(shelf, short, batch, Tally(shelf.size * len(short), None))
        empty = shelf.none()
        tokens_nL = np.empty((len(picks_n), *empty.tokens_rL.shape[1:]), np.int64)
        labels_n = np.empty(len(picks_n), np.int64)
        for number, n in needed.items():
            rows = self._rows(shelf, number, n)
            if len(rows) < n:
                raise DataError(
                    f"{shelf.path(number)} holds {len(rows)} pairs and not the {n} that are needed; "
                    f"{self._command(number * shelf.size + n - 1)}"
                )
            here_n = numbers_n == number
            tokens_nL[here_n] = rows.tokens_rL[places_n[here_n]]
            labels_n[here_n] = rows.labels_r[places_n[here_n]]
        origin, device = shelf.origin, self._teacher.tokenizer.codebook.device
        shape = sum(origin.steps), origin.code_width
        noise_nLC = normals(origin.seed, STREAM, "noise", picks_n.tolist(), *shape)
        return Trajectory(
            Condition(torch.from_numpy(labels_n).to(device)),
            noise_nLC.to(device),
            torch.from_numpy(tokens_nL).to(device),
            self._teacher.layout,
        )

    def _own_origin(self) -> Origin:
        assert self._pairing is not None
        return Origin.of(self._teacher, self._pairing.name, self._pairing.settings, self._seed)

    def _use(self, there: Shelf, ours: Origin) -> Shelf:
        differing = there.origin.differences(ours)
        if differing:
            raise DataError(
                f"the pairs in {self.folder} were made otherwise: {', '.join(differing)}; give a folder of this "
                "configuration's pairs, or an empty one to collect into"
            )
        self._shelf = there
        return there

    def _found(self) -> Shelf | None:
        """The folder's shelf, if somebody has made it since."""
        there = Shelf.there(self.folder)
        return None if there is None else self._use(there, self._own_origin())

    def _begun(self) -> Shelf:
        if self._shelf is None:
            if self._pairing is None:
                raise ValueError("pairs that were opened can't be collected; use Pairs.at")
            ours = self._own_origin()
            self._use(begin(Shelf(self.folder, ours, self._shard)), ours)
        assert self._shelf is not None
        return self._shelf

    def _make(self, shelf: Shelf, wanted: dict[int, int], batch: int, tally: Tally) -> int:
        if self._pairing is None:
            raise ValueError("pairs that were opened can't be collected; use Pairs.at")
        maker = Maker(shelf, self._teacher, self._pairing, batch, tally)
        return maker.make(maker.missing(wanted))

    def _has(self, number: int, n: int) -> bool:
        return number in self._loaded and len(self._loaded[number]) >= n

    def _rows(self, shelf: Shelf, number: int, n: int) -> Rows:
        """The shard's pairs; kept, and read again only where fewer than `n` were there."""
        if number not in self._loaded or len(self._loaded[number]) < n:
            try:
                self._loaded[number] = shelf.read(number)
            except DamagedError as damage:
                raise DataError(f"{damage}; {self._command((number + 1) * shelf.size - 1)}") from damage
        return self._loaded[number]

    def _command(self, index: int) -> str:
        """What collects, or mends, the pairs up to this one."""
        origin = self.origin
        settings = "".join(f"trajectory.{key}={value} " for key, value in origin.settings.items())
        return (
            f"collect it with: python -m ardistill collect teacher=... trajectory={origin.trajectory} {settings}"
            f"seed={origin.seed} n={index + 1} out={self.folder}"
        )
