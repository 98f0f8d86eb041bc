"""Runs that SIGKILL cuts at any update of any phase, before, inside and after a checkpoint's write: none loses a bit.

What a cut costs is the images since the last checkpoint; `run resume=DIR` makes them again, and the student, and all
that the last checkpoint holds, are those of a run that was never cut.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
EVAL = [
    "teacher=var",
    "threads=1",
    "eval.n=60",
    "eval.batch=60",
    "eval.steps=1",
    "eval.speed.repeats=0",
    "eval.baselines=",
]
DD1 = [
    "method=dd1",
    *EVAL,
    "method.n_pairs=16",
    "method.starts=0,1,2",
    "method.images=80",
    "method.batch=4",
    "method.warmup_images=16",
]
DD2 = [
    "method=dd2",
    *EVAL,
    "method.tuning_samples=8",
    "method.tune_batch=4",
    "method.batch=4",
    "method.warmup_images=16",
]
IMAGES = {
    "tune_head_images": 8,
    "tune_images": 12,
    "guidance_images": 8,
    "csd_images": 28,
    "align_guidance_images": 8,
    "align_images": 24,
}
DD2 += [f"method.{key}={images}" for key, images in IMAGES.items()]
UPDATES = {"dd1": 80 // 4, "dd2": sum(IMAGES.values()) // 4}
WORDS = {"dd1": DD1, "dd2": DD2}

places = st.sampled_from(["gradients", "moved", "counted"]) | st.integers(0, 40)


def cuts(method):
    """One or two kills: at which update of the process, and where in it."""
    return st.lists(st.tuples(st.integers(1, UPDATES[method]), places), min_size=1, max_size=2)


savings = st.tuples(st.sampled_from([4, 12, 40]), st.booleans())
"""Images between checkpoints, and whether they are written beside the next steps."""
few = settings(max_examples=8, phases=[Phase.explicit, Phase.generate])


@pytest.fixture(scope="module")
def ardistill():
    """Runs `ardistill WORDS` in a fork of a process that has imported it; how that ended, as subprocess tells it."""
    command = [sys.executable, str(Path(__file__).with_name("cuts_child.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **pipes) as server:

        def run(*words, log, cut=None):
            print(json.dumps({"words": words, "log": str(log), "cut": cut}), file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())

        yield run
        server.stdin.close()
        assert server.wait() == 0


@pytest.fixture(scope="module")
def whole(ardistill, tmp_path_factory):
    """For a method, the run that is never cut."""
    made = {}

    def of(method):
        if method not in made:
            folder = tmp_path_factory.mktemp("whole")
            code = ardistill("run", *WORDS[method], f"out={folder / method}", log=folder / "log")
            assert code == 0, (folder / "log").read_text()
            made[method] = end(folder / method)
        return made[method]

    return of


def end(run):
    """All that a run ends with but the time it took: files of tensors, and where training stands."""
    last = max((run / "checkpoints").glob("0*"))
    position = json.loads((last / "state.json").read_text())["position"]
    told = {key: value for key, value in position.items() if key != "seconds"}
    tensors = [run / "student.safetensors", last / "modules.safetensors", last / "optimisers.safetensors"]
    return {"where": told, **{path.name: path.read_bytes() for path in tensors}}


def cut_and_resumed(ardistill, method, kills, saving, folder):
    """How a run ends that is killed so, each time in the process that goes on with it."""
    log, out = folder / "log", folder / "run"
    words = [
        *WORDS[method],
        f"checkpoint.every={saving[0]}",
        f"checkpoint.asynchronous={str(saving[1]).lower()}",
    ]
    words.append(f"out={out}")
    for kill in kills:
        assert ardistill("run", *words, log=log, cut=kill) == -9, log.read_text()
        assert not (out / "student.safetensors").exists()
        words = [f"resume={out}"]
    assert ardistill("run", *words, log=log) == 0, log.read_text()
    return end(out)


@given(kills=cuts("dd1"), saving=savings)
@example(kills=[(1, "gradients")], saving=(4, False))
@example(kills=[(5, 12), (9, "moved")], saving=(4, True))
@example(kills=[(20, "counted")], saving=(40, False))
@few
def test_dd1_cut_anywhere_ends_with_the_same_bits(kills, saving, ardistill, whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dd1")
    found = cut_and_resumed(ardistill, "dd1", kills, saving, folder)
    wanted = whole("dd1")
    assert {name for name in wanted if found[name] != wanted[name]} == set()
    shutil.rmtree(folder)


@given(kills=cuts("dd2"), saving=savings)
@example(kills=[(2, "moved")], saving=(4, False))  # tune-head
@example(kills=[(4, "gradients")], saving=(4, False))  # tune
@example(kills=[(7, 10)], saving=(12, True))  # guidance
@example(kills=[(11, "counted"), (3, "moved")], saving=(12, False))  # csd, of two roles, and again
@example(kills=[(16, 3)], saving=(40, False))  # align-guidance
@example(kills=[(21, "moved")], saving=(4, True))  # align, of two roles
@few
def test_dd2_cut_anywhere_ends_with_the_same_bits(kills, saving, ardistill, whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dd2")
    found = cut_and_resumed(ardistill, "dd2", kills, saving, folder)
    wanted = whole("dd2")
    assert {name for name in wanted if found[name] != wanted[name]} == set()
    shutil.rmtree(folder)
