"""Several processes at once, and processes that are killed: no pair is lost, none is made twice."""

import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ardistill.errors import DataError
from ardistill.trajectories import Pairing, Pairs
from ardistill.trajectories.claim import claimed
from tests.trajectories.making import (
    RESTED,
    Silent,
    collected,
    contents,
    exact_teacher,
    from_noise,
    pairs_in,
    shard_files,
)

ROOT = Path(__file__).parents[2]
N, SHARD, BATCH = 120, 10, 5


def worker(folder: Path, seconds: float, n: int = N) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.trajectories.making", folder, n, SHARD, BATCH, seconds]
    return subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder as one process makes it in one go."""
    folder = tmp_path_factory.mktemp("pairs") / "whole"
    assert collected(folder, N, shard=SHARD, batch=BATCH, pairing=RESTED).count == N
    return contents(folder)


def test_processes_at_once_share_the_work_and_make_what_one_would(tmp_path, whole):
    workers = [worker(tmp_path / "pairs", 0.05) for _ in range(2)]
    made = [int(each.communicate()[0]) for each in workers]
    assert sum(made) == N
    assert min(made) > 0
    assert contents(tmp_path / "pairs") == whole


def test_a_killed_collection_goes_on_as_if_nothing_had_happened(tmp_path, whole):
    """SIGKILL in the middle of a shard, twice; what it left half-made is cleared away."""
    folder = tmp_path / "pairs"
    for wanted in (1, 4):
        process = worker(folder, 0.02)
        wait_for(lambda wanted=wanted: len(shard_files(folder)) >= wanted)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    there = len(shard_files(folder))
    assert 4 <= there < N // SHARD
    # Kills between the lines of a write leave these.
    (folder / f".pairs-{there:06d}.safetensors.4711.tmp").write_bytes(b"half")
    (folder / ".pairs-000000.safetensors.lock").touch()
    pairs = pairs_in(folder, shard=SHARD, pairing=RESTED)
    assert pairs.collect(N, batch=BATCH, progress=Silent()) == N - there * SHARD
    assert contents(folder) == whole


def test_a_process_waits_for_anothers_shard_and_makes_it_where_the_other_dies(tmp_path, whole):
    folder = tmp_path / "pairs"
    slow = worker(folder, 1000.0, n=SHARD)
    wait_for((folder / ".pairs-000000.safetensors.lock").exists)
    made = []
    pairs = pairs_in(folder, shard=SHARD, pairing=RESTED)
    waiting = threading.Thread(
        target=lambda: made.append(pairs.collect(SHARD, batch=BATCH, progress=Silent()))
    )
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    assert not shard_files(folder)
    slow.kill()
    slow.communicate()
    waiting.join(30)
    assert made == [SHARD]
    assert (folder / "pairs-000000.safetensors").read_bytes() == whole["pairs-000000.safetensors"]


def test_a_shard_that_another_has_finished_meanwhile_is_not_made_again(tmp_path):
    pairs, others = (pairs_in(tmp_path / "pairs", shard=SHARD, pairing=RESTED) for _ in range(2))
    pairs.collect(1, batch=BATCH, progress=Silent())

    class Meddler:
        """As soon as this process begins to look, another has made everything."""

        def advance(self, done, total, what):
            if not made:
                made.append(others.collect(N, batch=BATCH, progress=Silent()))
                times.update({path: path.stat().st_mtime_ns for path in shard_files(tmp_path / "pairs")})

    made, times = [], {}
    assert pairs.collect(N, batch=BATCH, progress=Meddler()) == 0
    assert made == [N - 1]
    assert {path: path.stat().st_mtime_ns for path in shard_files(tmp_path / "pairs")} == times


def test_only_one_has_a_claim_and_it_ends_with_its_block(tmp_path):
    lock = tmp_path / "lock"
    with claimed(lock) as first:
        assert first
        with claimed(lock) as second:
            assert not second
    assert not lock.exists()
    holders, most = [], []

    def hold():
        for _ in range(50):
            with claimed(lock, wait=True) as ours:
                assert ours
                holders.append(1)
                most.append(len(holders))
                time.sleep(0)
                holders.pop()

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 200
    assert not lock.exists()


def test_a_full_disk_stops_with_a_sentence_and_leaves_what_is_finished(tmp_path):
    """The limit on a file's size fails a shard's write as a full disk would."""
    folder = tmp_path / "pairs"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(settings, teacher, condition, noise_BLC, draw):
        if draw.start >= 20:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        return from_noise(None, teacher, condition, noise_BLC, draw)

    pairing = Pairing("filling", None, filling)
    try:
        with pytest.raises(DataError, match=rf"can't be written to {folder} .*make room"):
            collected(folder, 40, pairing=pairing)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(contents(folder)) == ["pairs-000000.safetensors", "pairs-000001.safetensors", "pairs.json"]
    assert Pairs.open(folder, exact_teacher()).count == 20
    made = pairs_in(folder, pairing=Pairing("filling", None, from_noise)).collect(
        40, batch=7, progress=Silent()
    )
    assert made == 20
