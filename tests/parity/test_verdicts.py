"""What the parity script accepts and refuses, on small fixtures made here from known numbers."""

import gzip
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.transformer import GPT

from ardistill.protocols import Condition
from benchmarks.golden import fill

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
GPT_CONFIG = {"dim": 8, "n_layer": 1, "n_head": 2, "vocab_size": 6, "block_size": 4, "num_classes": 3}
LABELS = torch.tensor([2, 0, 1])
IDX = torch.tensor([[0, 5, 3, 3], [1, 1, 4, 2], [2, 0, 0, 5]])


@pytest.fixture(scope="module")
def parity():
    """The script, imported as it imports its neighbours."""
    sys.path.insert(0, str(BENCHMARKS))
    import parity

    yield parity
    sys.path.remove(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.split(".")[0] in ("parity", "golden", "parity_checks")]:
        del sys.modules[name]


@pytest.fixture
def judged(parity, tmp_path, capsys):
    """Runs the script on the test's folder: the exit code, and the records by name."""

    def run():
        code = parity.main([str(tmp_path), "--json"])
        told = json.loads(capsys.readouterr().out)
        assert told["ok"] is (code == 0) is all(record["ok"] for record in told["fixtures"])
        return code, {record["name"]: record for record in told["fixtures"]}

    return run


def write(folder, name, info, arrays):
    described = {
        key: {"dtype": str(array.dtype), "shape": list(array.shape)} for key, array in arrays.items()
    }
    (folder / f"{name}.json").write_text(json.dumps(info | {"arrays": described}))
    np.savez(folder / f"{name}.npz", **arrays)


def filters(folder, name="some filter", **more):
    logits = np.log(np.array([[[1, 2, 5], [6, 1, 1]]], dtype=np.float32))
    arrays = {
        "logits": logits,
        "probs_0": np.array([[[1, 2, 5], [6, 1, 1]]], dtype=np.float32) / 8,
        "probs_1": np.array([[[0, 2 / 7, 5 / 7], [0.75, 0.125, 0.125]]], dtype=np.float32),
    }
    arrays |= {key: value(arrays.get(key)) for key, value in more.items()}
    write(folder, name, {"cases": [{"top_k": 0, "top_p": 0}, {"top_k": 2, "top_p": 0.0}]}, arrays)


def phi(folder, last=3):
    (folder / "phi.json").write_text(json.dumps({"patterns": {"5": [0, 1, 2, 2, last], "4": [0, 1, 2, 3]}}))


def gpt(folder, name="gpt", **changes):
    """A tiny LlamaGen whose greedy tokens are found by running it anew for every token."""
    model = GPT(GPTConfig(**GPT_CONFIG)).eval()
    fill(model, 3)
    condition, tokens = Condition(LABELS), torch.zeros(3, 4, dtype=torch.long)
    with torch.no_grad():
        train = model(IDX, condition)
        for i in range(4):
            tokens[:, i] = model(tokens, condition)[:, i].argmax(-1)
    keys = {
        key: {
            "shape": list(value.shape),
            "dtype": str(value.dtype).removeprefix("torch."),
            "crc32": zlib.crc32(value.numpy().tobytes()),
        }
        for key, value in model.state_dict().items()
    }
    n_params = sum(parameter.numel() for parameter in model.parameters())
    info = {"config": GPT_CONFIG, "keys": keys, "weight_seed": 3, "n_params": n_params} | changes
    arrays = {"label": LABELS, "idx": IDX, "gen_cfg1_idx": tokens}
    arrays = {key: value.numpy().astype(np.int32) for key, value in arrays.items()}
    write(folder, name, info, arrays | {"train_logits": train.numpy()})


def altered(folder, name, array, by):
    arrays = dict(np.load(folder / f"{name}.npz"))
    arrays[array][(0,) * arrays[array].ndim] += by
    np.savez(folder / f"{name}.npz", **arrays)


def test_agreement(judged, tmp_path):
    filters(tmp_path)
    phi(tmp_path)
    gpt(tmp_path)
    code, records = judged()
    assert code == 0
    assert {name: (record["kind"], record["checked"]) for name, record in records.items()} == {
        "some filter": ("VAR filters", 3),
        "phi": ("VAR phi pattern", 0),
        "gpt": ("LlamaGen c2i", 4),
    }


def test_table(parity, tmp_path, capsys):
    filters(tmp_path)
    gpt(tmp_path)
    altered(tmp_path, "gpt", "gen_cfg1_idx", 1)
    assert parity.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[2:4]] == ["FAILED", "ok"]
    assert lines[4] == "gpt: 1 of gen_cfg1_idx's 12 differ"
    assert lines[-1].startswith("2 fixtures, 7 arrays, 1 indices differ, largest error ")
    assert lines[-1].endswith(": 1 FAILED")


@pytest.mark.parametrize(
    ("by", "ok"), [(1e-4, True), (-1e-4, True), (1.3e-4, False), (-0.01, False), (np.nan, False)]
)
def test_floats_have_a_tolerance(judged, tmp_path, by, ok):
    filters(tmp_path, "changed", probs_0=lambda probs: probs + np.float32(by) * (probs == 0.125))
    filters(tmp_path, "other")
    code, records = judged()
    assert code == (0 if ok else 1)
    assert (records["changed"]["ok"], records["other"]["ok"]) == (ok, True)
    assert records["changed"]["worst"] == "probs_0"
    error = records["changed"]["max_error"]
    assert error is None if np.isnan(by) else error == pytest.approx(abs(by), rel=1e-2)


def test_removed_is_removed(judged, tmp_path):
    """A probability of 1e-6 is within the tolerance of 0, and still not what a filter leaves."""
    filters(tmp_path, probs_1=lambda probs: np.maximum(probs, np.float32(1e-6)))
    assert judged()[1]["some filter"]["mismatched"] == 1


def test_indices_have_none(judged, tmp_path):
    phi(tmp_path, last=2)
    gpt(tmp_path)
    altered(tmp_path, "gpt", "gen_cfg1_idx", 1)
    code, records = judged()
    assert code == 1
    assert (records["phi"]["mismatched"], records["phi"]["worst"]) == (1, "patterns[5]")
    assert (records["gpt"]["mismatched"], records["gpt"]["worst"]) == (1, "gen_cfg1_idx")


def test_no_array_passes_in_silence(judged, tmp_path):
    filters(tmp_path, surplus=lambda _: np.zeros((1, 2, 3), dtype=np.float32))
    code, records = judged()
    assert (code, records["some filter"]["unchecked"]) == (1, ["surplus"])
    assert "not checked: surplus" in records["some filter"]["reason"]


def test_random_numbers_are_optional(judged, tmp_path):
    filters(tmp_path, rnd_idx=lambda _: np.zeros((1, 2, 3), dtype=np.int32))
    code, records = judged()
    assert (code, records["some filter"]["optional_differences"]) == (0, ["rnd_idx was not checked"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weight_seed": 4}, "the weight rule gives other bytes"),
        ({"n_params": 7}, "parameters instead of 7"),
        ({"config": GPT_CONFIG | {"n_layer": 2}}, "layers.1.attention.wqkv.weight is not in the fixture"),
        ({"config": GPT_CONFIG | {"num_classes": 4}}, "instead of ([4, 8], 'float32')"),
        ({"config": GPT_CONFIG | {"n_head": 3}}, "n_head=3"),
        ({"keys": {}}, "KeyError: 'output.weight'"),
    ],
)
def test_other_models_are_told(judged, tmp_path, changes, reason):
    gpt(tmp_path, **changes)
    filters(tmp_path)
    code, records = judged()
    assert code == 1
    assert reason in records["gpt"]["reason"]
    assert records["some filter"]["ok"]


def test_names_say_nothing(judged, tmp_path):
    for made, name in ((filters, "var_vqvae"), (gpt, "var_sampling_filter"), (gpt, "second gpt: é")):
        made(tmp_path, name)
    code, records = judged()
    assert code == 0
    assert [record["kind"] for record in records.values()] == ["LlamaGen c2i", "LlamaGen c2i", "VAR filters"]


def test_strangers_and_damage_fail_by_themselves(judged, tmp_path):
    filters(tmp_path)
    write(tmp_path, "stranger", {"config": {"wheels": 3}}, {"x": np.zeros(2)})
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "cut.json").write_text('{"config": ')
    np.savez(tmp_path / "lonely.npz", x=np.zeros(2))
    gpt(tmp_path, "torn")
    content = (tmp_path / "torn.npz").read_bytes()
    (tmp_path / "torn.npz").write_bytes(content[:300] + b"\0" * (len(content) - 300))
    gpt(tmp_path, "halved")
    (tmp_path / "halved.npz").unlink()
    gpt(tmp_path, "lying")
    info = json.loads((tmp_path / "lying.json").read_text())
    info["arrays"]["idx"]["shape"] = [3, 5]
    (tmp_path / "lying.json").write_text(json.dumps(info))
    code, records = judged()
    assert code == 1
    assert records.pop("some filter")["ok"]
    assert set(records) == {"stranger", "empty", "list", "cut", "lonely", "torn", "halved", "lying"}
    for record in records.values():
        assert not record["ok"]
        assert record["reason"]
        assert "\n" not in record["reason"]
    assert records["stranger"]["reason"] == "nothing here knows this kind of fixture"
    assert records["halved"]["reason"] == "halved.npz is missing"


def test_released_keys(judged, tmp_path):
    (tmp_path / "full_keys").mkdir()
    gpt(tmp_path)
    info = json.loads((tmp_path / "gpt.json").read_text())
    for name, config in (("same", GPT_CONFIG), ("other", GPT_CONFIG | {"dim": 16})):
        packed = gzip.compress(json.dumps({**info, "config": config}).encode())
        (tmp_path / "full_keys" / f"{name}.json.gz").write_bytes(packed)
    (tmp_path / "full_keys" / "torn.json.gz").write_bytes(packed[:50])
    code, records = judged()
    assert code == 1
    oks = {name: record["ok"] for name, record in records.items()}
    assert oks == {"gpt": True, "full_keys/same": True, "full_keys/other": False, "full_keys/torn": False}


@pytest.mark.parametrize("words", [["nowhere"], ["."], [], ["a", "b"], ["--jason"]])
def test_nothing_to_check_is_one_sentence_and_exit_2(parity, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert parity.main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.strip().splitlines()) == 1
