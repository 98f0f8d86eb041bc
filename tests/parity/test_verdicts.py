"""What the parity script accepts and refuses, on small fixtures made here from known numbers."""

import gzip
import json

import numpy as np
import pytest

from tests.parity.fabricated import GPT_CONFIG, altered, filters, gpt, phi, write


def test_agreement(judged, tmp_path):
    filters(tmp_path)
    phi(tmp_path)
    gpt(tmp_path)
    code, records = judged()
    assert code == 0
    assert {name: (record["kind"], record["checked"]) for name, record in records.items()} == {
        "some filter": ("VAR filters", 3),
        "phi": ("VAR phi pattern", 0),
        "gpt": ("LlamaGen c2i", 11),
    }


def test_table(parity, tmp_path, capsys):
    filters(tmp_path)
    gpt(tmp_path)
    altered(tmp_path, "gpt", "gen_cfg1_idx", 1)
    assert parity.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[2:4]] == ["FAILED", "ok"]
    assert lines[4].startswith("gpt: 1 of gen_cfg1_idx's 12 differ; gen_cfg1_logits is off by up to ")
    assert lines[-1].startswith("2 fixtures, 14 arrays, 1 indices differ, largest error ")
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


def test_names_steer_no_terminal(parity, tmp_path, capsys):
    filters(tmp_path, "red \x1b[31m\n", **{"more \x1b[0m\n": lambda _: np.zeros((1, 2, 3), dtype=np.float32)})
    assert parity.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5  # two of the head, one of the table, the reason, the total
    assert lines[3] == r"red \x1b[31m\n: not checked: more \x1b[0m\n"
    assert all(line.isprintable() for line in lines)


def test_released_keys_are_counted(parity, judged, tmp_path, capsys):
    """A list of keys has no arrays; its line tells how many keys were compared."""
    (tmp_path / "full_keys").mkdir()
    gpt(tmp_path)
    path = tmp_path / "full_keys" / "tiny.json.gz"
    path.write_bytes(gzip.compress((tmp_path / "gpt.json").read_bytes()))
    n_keys = len(json.loads((tmp_path / "gpt.json").read_text())["keys"])
    records = judged()[1]
    assert {name: (record["checked"], record["keys"]) for name, record in records.items()} == {
        "gpt": (11, 0),
        "full_keys/tiny": (0, n_keys),
    }
    parity.main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert f" {n_keys} keys " in lines[3]
    assert lines[-1].startswith(f"2 fixtures, 11 arrays, {n_keys} keys, 0 indices differ, ")


def test_released_keys_without_a_count(judged, tmp_path):
    (tmp_path / "full_keys").mkdir()
    gpt(tmp_path)
    info = json.loads((tmp_path / "gpt.json").read_text())
    del info["n_params"]
    (tmp_path / "full_keys" / "tiny.json.gz").write_bytes(gzip.compress(json.dumps(info).encode()))
    assert judged()[1]["full_keys/tiny"]["reason"] == "its json does not say n_params"
