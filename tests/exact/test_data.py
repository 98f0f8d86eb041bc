"""The exact lab as data of a run: real images are draws from the known joint."""

import json

import pytest
import torch
from ardistill_exact.config import DenseConfig, SparseConfig
from ardistill_exact.data import Latents, dense_data, sparse_data
from ardistill_exact.metrics import total_variation

from ardistill.__main__ import main
from ardistill.evaluation.extraction import features_of
from ardistill.evaluation.fidelity import frechet
from ardistill.noise import Draw

SPARSE = sparse_data(SparseConfig(n_tokens=3))


def test_images_are_draws_from_the_joint():
    draw = Draw(0, "t", 0, 20_000)
    images, labels = SPARSE.images("train", draw)
    assert images.shape[1:] == SPARSE.image_shape
    tokens = SPARSE.teacher.tokenizer.encode(images)
    joint = SPARSE.teacher.chain.log_joint()
    assert total_variation(tokens, labels, joint, 8) < 0.06
    assert labels.float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_labels_splits_and_batches():
    labels = torch.arange(40) % 2
    whole, told = SPARSE.images("test", Draw(0, "t", 0, 40), labels)
    assert told.equal(labels)
    part, _ = SPARSE.images("test", Draw(0, "t", 30, 10), labels[30:])
    assert part.equal(whole[30:])
    assert not SPARSE.images("train", Draw(0, "t", 0, 40), labels)[0].equal(whole)


def test_the_digest_is_of_the_tables():
    assert SPARSE.sha256 == sparse_data(SparseConfig(n_tokens=3)).sha256
    assert SPARSE.sha256 != sparse_data(SparseConfig(n_tokens=3, seed=1)).sha256


def test_features_are_the_latents():
    dense = dense_data(DenseConfig(side=6))
    one, other = (dense.images("train", Draw(0, name, 0, 4000))[0] for name in ("a", "b"))
    same, moved = (features_of(Latents(), x) for x in (one, (other * 1.2).clamp(-1, 1)))
    assert frechet(same, features_of(Latents(), other)) < 0.2 * frechet(same, moved)


def test_a_run_reports_the_distance_to_the_joint(tmp_path):
    words = [
        "teacher=exact-sparse",
        "data=exact-sparse",
        "teacher.n_tokens=3",
        "data.n_tokens=3",
        "threads=1",
    ]
    small = ["eval.n=400", "eval.speed.repeats=0", "method.samples=400", "eval.baselines=onestep*"]
    assert main(["run", "method=skip-n", *words, *small, f"out={tmp_path / 'run'}"]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "run/report.json").read_text())["rows"]}
    assert rows["teacher"]["joint_tv"] < rows["skip-1"]["joint_tv"] < rows["onestep*"]["joint_tv"]
    assert rows["teacher"]["accuracy"] is None
    assert rows["teacher"]["isc"] is None
