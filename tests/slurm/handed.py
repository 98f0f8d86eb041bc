"""Runs handed to Slurm: small ones, and how they are looked at, held still and compared."""

import os
import signal
import time
from contextlib import contextmanager, suppress

from ardistill.__main__ import main
from ardistill.launch.lock import holder
from ardistill.launch.remote.state import TO_RESUME, states

EVAL = [
    "teacher=var",
    "threads=1",
    "eval.n=60",
    "eval.batch=60",
    "eval.steps=1",
    "eval.speed.repeats=0",
    "eval.baselines=",
]
# twelve updates, and a checkpoint after each: time to be met in training
TINY = [
    *EVAL,
    "method=dd1",
    "method.n_pairs=60",
    "method.images=192",
    "method.batch=16",
    "method.warmup_images=16",
    "checkpoint.every=16",
]
SLURM = ["launcher=slurm", "launcher.check=false"]


def wait_for(happens, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < deadline, f"it takes more than {seconds} s"
        time.sleep(0.02)
    return found


def hand_over(out, *words):
    """Has Slurm run TINY in a folder; the job's number."""
    assert main(["run", *TINY, f"out={out}", *SLURM, *words]) == 0
    return state(out).job


def log(out):
    """What the job's first task has written to stderr, in all its lives."""
    return (out / "launch" / f"{state(out).job}_0_log.err").read_text()


def state(out):
    (found,) = states([out])
    return found


def ends(out):
    """Waits until a run is finished."""
    wait_for(lambda: state(out).word in ("finished", *TO_RESUME))
    assert state(out).word == "finished", state(out)


def images(out):
    """Images of training that the newest checkpoint holds."""
    return max((int(path.name.split("-")[0]) for path in (out / "checkpoints").glob("0*")), default=0)


@contextmanager
def still(out, beyond=0):
    """A run in the middle of training, with a checkpoint beyond so many images: its process is stopped meanwhile."""
    wait_for(lambda: images(out) > beyond)
    pid = wait_for(lambda: holder(out)).pid
    os.kill(pid, signal.SIGSTOP)
    assert not (out / "student.safetensors").exists(), "it was quicker"
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def same_end(one, other):
    """Whether two runs end with the same bits: the student, and all that the last checkpoint holds."""
    last = [max((folder / "checkpoints").glob("0*")) for folder in (one, other)]
    pairs = [[folder / "student.safetensors" for folder in (one, other)]]
    pairs += [[path / name for path in last] for name in ("modules.safetensors", "optimisers.safetensors")]
    return last[0].name == last[1].name and all(a.read_bytes() == b.read_bytes() for a, b in pairs)
