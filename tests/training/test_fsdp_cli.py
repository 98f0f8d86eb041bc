"""Sharded weights under the real torchrun, on the CPU: DD1 and DD2 on the digits, watched while they train."""

import json

import pytest

from ardistill.__main__ import main
from ardistill.weights import read_weights
from tests.training.processes import torchrun
from tests.training.test_torchrun import RUNS, close, student

pytestmark = pytest.mark.processes

WATCH = {"dd1": ["eval.every=100", "eval.every_n=50"], "dd2": []}


@pytest.fixture(scope="module", params=sorted(RUNS))
def run(request, tmp_path_factory):
    words = [*RUNS[request.param], *WATCH[request.param]]
    folder = tmp_path_factory.mktemp(request.param) / "run"
    assert main(["run", *words, f"out={folder}"]) == 0
    return words, folder


def watched(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [each[key] for each in records if each["phase"] == "eval" for key in ("images", "fid", "fid_test")]


def test_two_processes_with_shards_make_the_student_of_one(run, tmp_path):
    words, whole = run
    out = tmp_path / "two"
    code, said = torchrun(2, ["run", *words, "train.parallel=fsdp", f"out={out}"])
    assert code == 0, said
    assert "UserWarning" not in said
    close(student(out), student(whole))
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    assert watched(out) == pytest.approx(watched(whole), rel=0.02)
    assert read_weights(out / "best.safetensors").tensors.keys() == student(whole).keys()
    newest = max((out / "checkpoints").iterdir())
    assert {path.name.partition("-of-")[0] for path in newest.iterdir()} == {
        *(f"{file}-0000{n}" for file in ("modules", "optimisers") for n in (1, 2)),
        "state.json",
        "manifest.json",
    }
    for path in out.glob("checkpoints/*/*"):
        assert path.suffix in (".safetensors", ".json")
