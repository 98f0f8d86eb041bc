"""How much memory it takes to load a large file, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.weights.making import save

N_TENSORS, ROWS = 20, 1 << 10
COLUMNS = 1536  # 6 MiB each
ASIDE = (
    24 << 20
)  # what code and threads take at first use, whatever the file's size; a third of the smaller file
LOAD = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from ardistill.weights import convert, load_strict, read_weights

def status():
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return {line[0][:-1]: int(line[1]) << 10 for line in lines if line[0].startswith(("Rss", "VmHWM", "VmRSS"))}

path, n, rows, columns = Path(sys.argv[1]), *map(int, sys.argv[2:])
with torch.device("meta"):
    module = nn.ParameterList([torch.empty(rows, columns) for _ in range(n)])
start = status()
weights = read_weights(path)
read = status()
load_strict(module, weights, "a list")
loaded = status()
convert(path, path.with_name("converted.safetensors"))
converted = status()
sums = [float(p.detach()[0, 0]) for p in module]
print(json.dumps([start, read, loaded, converted, sums]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loading_and_converting_keep_no_second_copy(tmp_path, dtype):
    tensors = {
        str(n): torch.arange(ROWS * COLUMNS).remainder(61).add(n).to(dtype).view(ROWS, COLUMNS)
        for n in range(N_TENSORS)
    }
    path = save(tmp_path / "large.pth", {"model": tensors})
    file = path.stat().st_size
    model = N_TENSORS * ROWS * COLUMNS * 4
    del tensors
    words = [sys.executable, "-c", LOAD, str(path), str(N_TENSORS), str(ROWS), str(COLUMNS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    start, read, loaded, converted, sums = json.loads(done.stdout)
    assert sums == list(range(N_TENSORS))
    assert read["VmRSS"] - start["VmRSS"] < 0.1 * file + ASIDE  # the tensors still lie in the file
    assert (
        loaded["VmHWM"] - start["VmRSS"] < model + 1.2 * file + ASIDE
    )  # of which the file's own pages are 1
    assert loaded["RssAnon"] - start["RssAnon"] < model + 0.2 * file + ASIDE
    assert converted["RssAnon"] - loaded["RssAnon"] < 0.2 * file + ASIDE
    assert (
        converted["VmHWM"] - start["VmRSS"] < model + 2.2 * file + ASIDE
    )  # `weights` and convert map it each
