"""The script on the numbers recorded upstream, whole and with one of them changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.golden import ROOT

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "parity.py"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"the parity fixtures are not here ({ROOT})")


def run(folder):
    command = [sys.executable, str(SCRIPT), str(folder), "--json"]
    done = subprocess.run(
        command, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert not done.stderr
    told = json.loads(done.stdout)
    return done.returncode, told["ok"], {record["name"]: record for record in told["fixtures"]}


def copied(name, folder, new=None):
    for end in ("json", "npz"):
        shutil.copyfile(ROOT / f"{name}.{end}", folder / f"{new or name}.{end}")
    return folder / f"{new or name}.npz"


def altered(path, array, change):
    arrays = dict(np.load(path))
    place = tuple(size // 2 for size in arrays[array].shape)
    arrays[array][place] = change(arrays[array][place])
    np.savez(path, **arrays)


def test_all_agree_and_nothing_is_left_out():
    code, ok, records = run(ROOT)
    assert (code, ok) == (0, True)
    for name, record in records.items():
        assert record["ok"], record
        assert record["mismatched"] == 0
        arrays = ROOT / f"{name}.npz"
        assert record["checked"] == (len(np.load(arrays).files) if arrays.exists() else 0)
    recorded = {path.stem for path in ROOT.glob("*.json")}
    recorded |= {f"full_keys/{path.name.removesuffix('.json.gz')}" for path in (ROOT / "full_keys").iterdir()}
    assert set(records) == recorded


def test_one_changed_number_is_found(tmp_path):
    copied("var_saln", tmp_path)
    copied("llamagen_t2i", tmp_path, "some other name")
    altered(copied("llamagen_c2i", tmp_path), "gen_cfg4_idx", lambda index: index ^ 1)
    altered(copied("taming_vqgan", tmp_path), "given_image", lambda x: x + 2e-4 * (1 + abs(x)))
    altered(copied("dd_llamagen", tmp_path), "comb0_prefix_idx", lambda index: index ^ 1)
    altered(copied("dd_var", tmp_path), "few3_step1_seq", lambda x: x - 2e-4 * (1 + abs(x)))
    code, ok, records = run(tmp_path)
    assert (code, ok) == (1, False)
    assert {
        name: (record["worst"], record["mismatched"]) for name, record in records.items() if not record["ok"]
    } == {
        "llamagen_c2i": ("gen_cfg4_idx", 1),
        "taming_vqgan": ("given_image", 0),
        "dd_llamagen": ("comb0_prefix_idx", 1),
        "dd_var": ("few3_step1_seq", 0),
    }
    assert records["some other name"]["kind"] == "LlamaGen t2i"
