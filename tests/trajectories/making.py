"""Small teachers whose pairs are quick to make, and what is said of folders of them.

python -m tests.trajectories.making FOLDER N SHARD BATCH SECONDS      collects, with so long a rest before every batch
"""

import sys
import time
from pathlib import Path

import attrs
import torch
from ardistill_dd2.tuning import ancestral
from ardistill_exact.config import SparseConfig
from ardistill_exact.teacher import ExactTeacher, sparse_teacher

from ardistill.trajectories import Pairing, Pairs

SEED = 5


class Silent:
    def advance(self, done, total, what):
        pass


@attrs.frozen
class Rest:
    seconds: float = 0.0


def rested(settings, teacher, condition, noise_BLC, draw):
    time.sleep(settings.seconds)
    return from_noise(None, teacher, condition, noise_BLC, draw)


def from_noise(settings, teacher, condition, noise_BLC, draw):
    """Tokens that tell of the noise, the label and the draw they were made from."""
    nearest_BL = torch.cdist(noise_BLC, teacher.tokenizer.codebook).argmin(-1)
    shift_B1 = condition.labels_B[:, None] + draw.integers("shift", 3)[:, None]
    return (nearest_BL + shift_B1) % len(teacher.tokenizer.codebook)


ANCESTRAL = Pairing("ancestral", None, ancestral)
FROM_NOISE = Pairing("from-noise", None, from_noise)
RESTED = Pairing("rested", Rest(), rested)


def exact_teacher(**words) -> ExactTeacher:
    return sparse_teacher(SparseConfig(**words), lambda name: None)


def pairs_in(folder: Path, *, pairing=FROM_NOISE, seed=SEED, shard=10, teacher=None) -> Pairs:
    return Pairs.at(folder, teacher or exact_teacher(), pairing, seed, shard=shard)


def collected(folder: Path, n: int, *, batch=7, **words) -> Pairs:
    pairs = pairs_in(folder, **words)
    pairs.collect(n, batch=batch, progress=Silent())
    return pairs


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shard_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("pairs-*.safetensors"))


if __name__ == "__main__":
    where, n, shard, batch, seconds = sys.argv[1:]
    # The rest is no part of what the pairs are: the record says the same without it.
    pairing = Pairing("rested", Rest(), lambda _, *rest: rested(Rest(float(seconds)), *rest))
    pairs = pairs_in(Path(where), pairing=pairing, shard=int(shard))
    print(pairs.collect(int(n), batch=int(batch), progress=Silent()), flush=True)
