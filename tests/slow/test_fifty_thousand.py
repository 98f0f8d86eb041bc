"""50,000 images are judged in bounded memory, as protocols of ImageNet ask: features of 2,048 numbers, streamed."""

import subprocess
import sys

import pytest

SCRIPT = """
import torch
from ardistill.evaluation.drawing import Candidate
from ardistill.evaluation.evaluate import evaluate
from ardistill.evaluation.judge import Judge, Rules
from ardistill.evaluation.timing.memory import peak
from ardistill.evaluation.references.opening import Reference
from ardistill.evaluation.statistics import Moments
from ardistill.noise import Draw
from tests.evaluation.fakes import FakeDataset, FakeTeacher, Silence

N, WIDTH = 50_000, 2048
torch.set_num_threads(1)
mixing = Draw(0, "mixing", 0, 16).normal("x", WIDTH)


class Wide:
    name, n_features = "wide", WIDTH

    def __call__(self, images_BCHW):
        features_BF = images_BCHW.flatten(1) @ mixing
        return features_BF + 0.1 * features_BF.sin(), features_BF[:, :1000]


class Data(FakeDataset):
    splits = ()


teacher = FakeTeacher()
moments = Moments()
for start in range(0, 10_000, 500):
    moments.add(Wide()(torch.randn(500, 1, 4, 4, generator=torch.Generator().manual_seed(start)))[0])
reference = Reference(
    name="file", sha256="0", n=None, statistics=moments.statistics(), features_NF=None, kind="pytorch-fid",
    resize="", skipped=(),
)
with peak(torch.device("cpu")) as measured:
    rules = Rules(n=N, batch=500, kid_subsets=2)
    judge = Judge.of(teacher, Data(teacher), Wide(), rules, reference, Silence())
    candidates = [teacher.candidate("teacher", standing="teacher"), teacher.candidate("student", mixed=0.3)]
    result = evaluate(candidates, judge)
print(result.rows[1].fid, measured.bytes)
"""


@pytest.mark.slow
def test_peak_memory():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=900
    )
    fid, peak = done.stdout.split()
    assert float(fid) > 0
    assert int(peak) < 3e9
