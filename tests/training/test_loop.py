"""The loop on a method small enough to check by hand: resume, averages, schedules, refusals."""

import json
import math
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ardistill.errors import RunFolderError
from ardistill.protocols import Role
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer, TrainingError
from ardistill.training.optimise import ema_decay, learning_rate, training_only
from tests.training.toy import ToyPhase

pytestmark = pytest.mark.filterwarnings("ignore:.*tensorboard.*")


class Toy:
    """Two linear maps chasing one another through two phases, with noise in every batch."""

    def __init__(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.modules = {"a": nn.Linear(3, 2), "b": nn.Linear(3, 2), "mean": nn.Linear(3, 2)}
        self.stop_after = None
        self.calls = 0

    def phases(self):
        a = Role(self.modules["a"], lr=0.05, warmup=40, decay=0.1, average=self.modules["mean"])
        b = Role(self.modules["b"], lr=0.02)

        def copy():
            self.modules["b"].load_state_dict(self.modules["mean"].state_dict())

        return (
            ToyPhase("one", 160, 8, {"a": a}, self.losses),
            ToyPhase("two", 144, 6, {"a": a, "b": b}, self.losses, copy),
        )

    def losses(self, role, draw):
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt
        x = draw.normal("x", 3)
        other = self.modules["b" if role == "a" else "a"](x)
        return {"fit": (self.modules[role](x) - other.detach() - draw.uniform("u", 2)).square().mean()}


class Silent:
    def advance(self, done, total, what):
        pass


def train(folder, every=30, stop_after=None):
    toy = Toy()
    toy.stop_after = stop_after
    checkpoints = Checkpoints(folder / "checkpoints")
    folder.mkdir(exist_ok=True)
    found = checkpoints.latest()
    journal = Journal(folder, found[1].total_images if found else 0)
    try:
        Trainer(toy, 5, torch.device("cpu"), checkpoints, every, journal, Silent()).run()
    except KeyboardInterrupt:
        pass
    finally:
        journal.close()
    return {
        f"{name}.{key}": value.clone()
        for name, m in toy.modules.items()
        for key, value in m.state_dict().items()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return train(folder), (folder / "metrics.jsonl").read_text()


@given(cuts=st.lists(st.integers(1, 43), min_size=1, max_size=3), every=st.integers(7, 60))
@settings(deadline=None, max_examples=12)
def test_a_run_cut_anywhere_and_resumed_is_the_uninterrupted_one(cuts, every, whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut") / "run"
    for cut in cuts:
        train(folder, every, stop_after=cut)
    resumed = train(folder, every)
    weights, journal = whole
    for key, value in weights.items():
        assert resumed[key].equal(value), key
    images = [json.loads(line)["images"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert images == sorted(set(images)), "no record stands twice"
    assert images[-1] == json.loads(journal.splitlines()[-1])["images"]


def test_checkpoints_in_a_damaged_state_are_passed_over(tmp_path, whole):
    train(tmp_path / "run", every=30, stop_after=40)
    newest, older = Checkpoints(tmp_path / "run" / "checkpoints")._newest_first()
    blob = newest / "modules.safetensors"
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    found = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert found is not None
    assert found[0] == older
    resumed = train(tmp_path / "run", every=30)
    assert all(resumed[key].equal(value) for key, value in whole[0].items())


def test_a_folder_whose_checkpoints_are_all_damaged_is_refused_rather_than_restarted(tmp_path):
    train(tmp_path / "run", every=30, stop_after=40)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        (path / "state.json").write_text("{")
    with pytest.raises(RunFolderError, match="damaged"):
        Checkpoints(tmp_path / "run" / "checkpoints").latest()


def test_what_a_kill_leaves_aside_is_not_a_checkpoint(tmp_path):
    train(tmp_path / "run", every=30, stop_after=40)
    folder = tmp_path / "run" / "checkpoints"
    found = Checkpoints(folder).latest()
    shutil.copytree(found[0], folder / f".{999:012d}-two.tmp")
    assert Checkpoints(folder).latest() == found


def test_a_loss_that_is_not_finite_stops_before_the_weights_move(tmp_path):
    toy = Toy()
    before = {key: value.clone() for key, value in toy.modules["a"].state_dict().items()}
    toy.losses = lambda role, draw: {"fit": toy.modules["a"](draw.normal("x", 3)).sum() * math.inf}
    (tmp_path / "run").mkdir()
    journal = Journal(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"fit of role a is not finite in phase one at image 0"):
        Trainer(toy, 0, torch.device("cpu"), Checkpoints(tmp_path / "c"), 10, journal, Silent()).run()
    journal.close()
    assert all(value.equal(before[key]) for key, value in toy.modules["a"].state_dict().items())


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine():
    role = Role(nn.Linear(1, 1), lr=1.0, warmup=100, lr_start=0.2, decay=0.1)
    rates = [learning_rate(role, images, 1_100) for images in range(1_100)]
    assert rates[0] == pytest.approx(0.2 + 0.8 / 100)
    assert rates[99] == pytest.approx(1.0)
    assert rates[600] == pytest.approx(0.1 + 0.9 / 2)
    assert rates[-1] == pytest.approx(0.1, abs=1e-4)
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_the_ema_is_the_papers_formula():
    assert [ema_decay(i, 0.9999) for i in (0, 9, 90)] == [1 / 10, 10 / 19, 91 / 100]
    assert ema_decay(10**6, 0.99) == 0.99


def test_training_only_closes_every_other_module():
    modules = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}
    with training_only(modules["a"], modules):
        (modules["a"](torch.ones(1, 2)) + modules["b"](torch.ones(1, 2))).sum().backward()
    assert modules["a"].weight.grad is not None
    assert modules["b"].weight.grad is None
