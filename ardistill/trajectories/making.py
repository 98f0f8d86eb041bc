"""Filling shards, by one process or several at once: each shard is claimed, made whole, and written.

Legend: B batch, L tokens, C code width, V codes, r pairs of a shard.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from logging import getLogger
from typing import Any

import attrs
import torch
from torch import Tensor

from ardistill.errors import DataError, PluginError
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, Progress
from ardistill.trajectories.claim import claimed
from ardistill.trajectories.shelf import MANIFEST, DamagedError, Rows, Shelf
from ardistill.wording import message_of, shown

STREAM = "pairs"
"""Of the randomness: a pair's noise is `Draw(seed, "pairs", ...).normal("noise", L, C)`."""
_POLL_SECONDS = 0.2


@attrs.frozen(eq=False)
class Pairing:
    """How noise and tokens come to belong together: a registered trajectory's name, settings and target.

    `make(settings, teacher, condition, noise_BLC, draw)` gives tokens (B, L), as `records.TrajectoryOffer` says.
    """

    name: str
    settings: Any
    make: Callable[..., Tensor]


class Tally:
    """Counts the pairs that are there, shard by shard, and tells how many of `n`."""

    def __init__(self, n: int, progress: Progress | None) -> None:
        self._n, self._progress = n, progress
        self._rows: dict[int, int] = {}

    def there(self, number: int, rows: int) -> None:
        self._rows[number] = rows

    def tell(self) -> None:
        if self._progress is not None:
            self._progress.advance(sum(self._rows.values()), self._n, "pairs")


@attrs.frozen(eq=False)
class Maker:
    """Makes what is missing on a shelf."""

    shelf: Shelf
    teacher: ARTeacher
    pairing: Pairing
    batch: int = attrs.field(validator=attrs.validators.ge(1))
    tally: Tally

    def missing(self, wanted: Mapping[int, int]) -> dict[int, int]:
        """Of the shards with the number of pairs wanted in each, those that lack some. Verifies every one."""
        short = {}
        for number, n in wanted.items():
            there = len(self._read(number))
            self.tally.there(number, min(there, n))
            if there < n:
                short[number] = n
        self.tally.tell()
        return short

    def make(self, wanted: Mapping[int, int]) -> int:
        """Completes the shards, or waits until another process has; how many pairs were made here."""
        left, made = dict(wanted), 0
        while left:
            before = len(left)
            for number in list(left):
                with _writing(self.shelf), claimed(self.shelf.lock(number)) as ours:
                    if ours:
                        made += self._complete(number, left.pop(number))
            if len(left) == before:  # others are at work on all of them, and may die
                time.sleep(_POLL_SECONDS)
        return made

    def _complete(self, number: int, n: int) -> int:
        """The shard's pairs up to `n`, behind those that are there."""
        rows = self._read(number)
        there = len(rows)
        self.tally.there(number, min(there, n))
        if there >= n:
            self.tally.tell()
            return 0
        self.shelf.sweep(self.shelf.path(number).name)
        first = number * self.shelf.size
        while len(rows) < n:
            count = min(self.batch - len(rows) % self.batch, n - len(rows))
            tokens_BL, labels_B = self._pairs(first + len(rows), count)
            rows = rows.then(tokens_BL.cpu().numpy(), labels_B.cpu().numpy())
            self.tally.there(number, len(rows))
            self.tally.tell()
        self.shelf.write(number, rows)
        return n - there

    @torch.no_grad()
    def _pairs(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) and labels (B,) of the pairs start..start+count-1."""
        origin, codes_VC = self.shelf.origin, self.teacher.tokenizer.codebook
        draw = Draw(origin.seed, STREAM, start, count, codes_VC.device)
        labels_B = draw.integers("label", origin.n_classes)
        noise_BLC = draw.normal("noise", sum(origin.steps), origin.code_width)
        pairing = self.pairing
        tokens_BL = pairing.make(pairing.settings, self.teacher, Condition(labels_B), noise_BLC, draw)
        shape, expected = tuple(tokens_BL.shape), tuple(noise_BLC.shape[:2])
        if shape != expected or tokens_BL.is_floating_point():
            raise PluginError(
                f"trajectory {pairing.name} gave {tokens_BL.dtype} of shape {shape}, not whole numbers of {expected}"
            )
        if int(tokens_BL.min()) < 0 or int(tokens_BL.max()) >= origin.n_codes:
            raise PluginError(f"trajectory {pairing.name} gave tokens outside 0..{origin.n_codes - 1}")
        return tokens_BL, labels_B

    def _read(self, number: int) -> Rows:
        try:
            return self.shelf.read(number)
        except DamagedError as damage:
            getLogger("ardistill").warning("%s; its pairs are made anew", damage)
            return self.shelf.none()


def clear(shelf: Shelf) -> None:
    """Removes the locks that killed processes have left on finished shards."""
    with _writing(shelf):
        for lock in shelf.folder.glob(".pairs-*.lock"):
            with claimed(lock):
                pass


def begin(shelf: Shelf) -> Shelf:
    """Makes the folder and its manifest, unless another process has just done so; the shelf that is there."""
    folder = shelf.folder
    with _writing(shelf):
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(path.name for path in folder.iterdir() if not path.name.startswith(f".{MANIFEST}."))
        if others and MANIFEST not in others:
            raise DataError(
                f"{folder} holds no {MANIFEST} and other files ({shown(others[0])}); give an empty or a new folder"
            )
        with claimed(folder / f".{MANIFEST}.lock", wait=True):
            there = Shelf.there(folder)
            if there is None:
                shelf.sweep(MANIFEST)
                shelf.write_manifest()
    return shelf if there is None else there


@contextmanager
def _writing(shelf: Shelf) -> Iterator[None]:
    """Says in a sentence what the system refuses, such as room on the disk."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or message_of(error)
        raise DataError(
            f"pairs can't be written to {shelf.folder} ({reason}); the shards that are finished are whole: "
            "make room, or mend the folder, and collect again"
        ) from error
