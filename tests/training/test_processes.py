"""Several processes are one training: the same weights, and one end for all, however it comes."""

import json

import pytest
import torch

from ardistill.errors import ConfigError
from ardistill.training.checkpoint import Checkpoints, restore
from ardistill.training.joining import world_of
from ardistill.training.step import Engine
from ardistill.training.world import World
from tests.training.processes import group
from tests.training.toy import Toy, train, weights

pytestmark = [pytest.mark.processes, pytest.mark.filterwarnings("ignore:.*tensorboard.*")]

SLOW = pytest.mark.processes


def left(folder):
    """The weights of the newest checkpoint, and its images."""
    toy = Toy()
    path, position = Checkpoints(folder / "checkpoints").latest()
    restore(path, toy.modules)
    return weights(toy), position.total_images


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    return train(Toy(), folder), folder


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one_and_one_writes(tmp_path, alone):
    codes, said = group(2, str(tmp_path / "two"))
    assert codes == [0, 0], said
    close(left(tmp_path / "two")[0], alone[0])
    ours, theirs = records(tmp_path / "two"), records(alone[1])
    assert [each.keys() for each in ours] == [each.keys() for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.pop("phase") == other.pop("phase")
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_micro_batches_give_the_batchs_gradient(tmp_path, alone, micro_batch):
    close(train(Toy(), tmp_path / "run", Engine(micro_batch=micro_batch)), alone[0])


def test_a_micro_batch_as_large_as_the_share_changes_no_bit(tmp_path, alone):
    trained = train(Toy(), tmp_path / "run", Engine(micro_batch=8))
    assert all(trained[key].equal(value) for key, value in alone[0].items())


def test_a_signal_to_one_process_saves_the_step_and_one_process_goes_on(tmp_path, alone):
    codes, said = group(2, str(tmp_path / "run"), "fault=SIGTERM", "rank=1")
    assert codes == [75, 75], said
    assert "stopped by SIGTERM at image 96; go on with: python -m ardistill run resume=" in said[0]
    assert said[1] == "", "one message is enough"
    assert left(tmp_path / "run")[1] == 12 * 8
    close(train(Toy(), tmp_path / "run"), alone[0])


@pytest.mark.parametrize(
    ("fault", "codes", "sentence"),
    [
        ("nan", [3, 3], "process 1 of 2: the loss fit of role a is not finite in phase one at image 88"),
        pytest.param(
            "memory", [3, 3], "process 1 of 2: the device's memory is too small for 4 images", marks=SLOW
        ),
        pytest.param("defect", [3, 1], "in process 1 of 2", marks=SLOW),
    ],
)
def test_what_one_process_meets_ends_all_before_a_weight_moves(tmp_path, alone, fault, codes, sentence):
    found, said = group(2, str(tmp_path / "run"), f"fault={fault}", "rank=1")
    assert found == codes, said
    assert sentence in said[1]
    assert said[0] == "", "one message is enough"
    assert left(tmp_path / "run")[1] == 64, "the last checkpoint before it"
    close(train(Toy(), tmp_path / "run"), alone[0])


@pytest.mark.parametrize("rank", [pytest.param(0, marks=SLOW), 1])
def test_a_process_that_is_killed_leaves_no_other_hanging(tmp_path, alone, rank):
    codes, said = group(2, str(tmp_path / "run"), "fault=SIGKILL", f"rank={rank}")
    assert codes[rank] == -9
    assert codes[1 - rank] == 3
    assert "another process is gone" in said[1 - rank]
    close(train(Toy(), tmp_path / "run"), alone[0])


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(
        ConfigError, match="the batch of phase one is 8 images, and 3 processes can't take equal"
    ):
        Engine(World(size=3)).check(Toy().phases())


def test_a_process_learns_of_the_others_from_its_environment():
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    world = world_of(told, "cuda")
    assert (world.rank, world.size, world.local_rank, world.local_size) == (5, 8, 1, 4)
    assert world.device == "cuda:1"
    assert world_of(told, "cpu").device == "cpu"
    assert (
        world_of({"WORLD_SIZE": "1", "RANK": "0"}, "cuda:3").device
        == world_of({}, "cuda:3").device
        == "cuda:3"
    )


@pytest.mark.parametrize(
    ("told", "device", "said"),
    [
        ({"WORLD_SIZE": "2"}, "cpu", "RANK=None"),
        ({"WORLD_SIZE": "two"}, "cpu", "WORLD_SIZE=two"),
        ({"WORLD_SIZE": "2", "RANK": "-1", "LOCAL_RANK": "0"}, "cpu", "RANK=-1"),
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, "cuda:0", "device=cuda:0 is one GPU"),
    ],
)
def test_an_environment_that_makes_no_sense_is_one_sentence(told, device, said):
    with pytest.raises(ConfigError, match=said):
        world_of(told, device)
