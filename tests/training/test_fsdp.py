"""Sharded training is the same training: its weights, its ends, however they come, and its checkpoints."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ardistill.config.training import TrainConfig
from ardistill.errors import ConfigError, RunFolderError
from ardistill.training.checkpoint import Checkpoints, restore, restore_optimisers
from ardistill.training.checkpoints.manifest import MANIFEST, File, Manifest
from ardistill.training.optimise import Optimiser
from ardistill.training.sharding import check_torch, sharded_blocks
from ardistill.training.step import Engine
from tests.training.fsdp_toy import Blocks, Network
from tests.training.processes import finish, start
from tests.training.test_checkpoint import Bomb
from tests.training.toy import train, weights

pytestmark = [pytest.mark.filterwarnings("ignore:.*tensorboard.*")]
several = pytest.mark.processes

ROOT = Path(__file__).parents[2]
CALL = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from tests.training.fsdp_toy import main; sys.exit(main(*sys.argv[1:]))"
)


def group(size, task, folder, **words):
    told = [f"{key}={value}" for key, value in words.items()]
    Path(folder).mkdir(exist_ok=True)
    return finish(
        start(size, [sys.executable, "-W", "ignore", "-c", CALL, str(ROOT), task, str(folder), *told])
    )


def left(folder):
    """The weights of the newest checkpoint, read by one process, and its images."""
    toy = Blocks()
    path, position = Checkpoints(folder / "checkpoints").latest()
    restore(path, toy.modules)
    return weights(toy), position.total_images


def same(one, other):
    assert one.keys() == other.keys()
    assert all(one[key].equal(value) for key, value in other.items())


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def told(folder):
    return [json.loads((folder / f"told-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    return train(Blocks(), folder), folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes with sharded weights leave."""
    folder = tmp_path_factory.mktemp("two") / "run"
    codes, said = group(2, "train", folder)
    assert codes == [0, 0], said
    return folder


def test_one_process_holds_all_and_changes_no_bit(tmp_path, alone):
    same(train(Blocks(), tmp_path / "run", Engine(parallel="fsdp")), alone[0])


@several
def test_two_processes_with_shards_train_as_one(two, alone):
    close(left(two)[0], alone[0])
    ours, theirs = records(two), records(alone[1])
    assert [each.keys() for each in ours] == [each.keys() for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.pop("phase") == other.pop("phase")
        assert one == pytest.approx(other, rel=1e-3), "and the gradient's norm among them"
    assert max(each["a/gradient_norm"] for each in ours if "a/gradient_norm" in each) > 0.1, (
        "some were clipped"
    )


@several
def test_each_holds_half_of_the_blocks(two):
    network = Network()
    whole = sum(each.numel() for each in network.parameters())
    outside = whole - sum(each.numel() for each in network.blocks.parameters())
    for process in told(two):
        for held in process["held"].values():
            assert held - outside == pytest.approx((whole - outside) / 2, rel=0.1)
    path, _ = Checkpoints(two / "checkpoints").latest()
    for file in ("modules", "optimisers"):
        one, other = (load_file(path / f"{file}-0000{n}-of-00002.safetensors") for n in (1, 2))
        assert sum(map(torch.numel, one.values())) == pytest.approx(
            sum(map(torch.numel, other.values())), rel=0.25
        )


@several
def test_the_first_sees_the_student_whole_for_as_long_as_it_is_shown(two):
    (first, second), (mean, _) = told(two), left(two)
    shown = {f"mean.{key}": torch.tensor(value) for key, value in first["shown"].items()}
    same(shown, {key: value for key, value in mean.items() if key.startswith("mean.")})
    assert not second["shown"]
    assert first["left"] == second["left"] < sum(each.numel() for each in Network().parameters()) / 2
    assert first["seen"] == [32, 64, 96, "watched", 128, 158, 188, "watched", 218, 224][: len(first["seen"])]
    assert second["seen"] == []


@several
@pytest.mark.parametrize(
    "words",
    [{"micro_batch": 3}, {"checkpointing": "true"}, {"compile": "true", "checkpointing": "true"}],
    ids=["micro_batch", "checkpointing", "compile"],
)
def test_micro_batches_and_prepared_blocks_give_the_same(tmp_path, alone, words):
    codes, said = group(2, "train", tmp_path / "run", **words)
    assert codes == [0, 0], said
    close(left(tmp_path / "run")[0], alone[0])


@several
def test_float16_is_scaled_alike_on_all_processes(tmp_path):
    codes, said = group(2, "train", tmp_path / "run", precision="fp16")
    assert codes == [0, 0], said
    train(Blocks(), tmp_path / "one", Engine(precision="fp16"))
    for one, other in zip(records(tmp_path / "run"), records(tmp_path / "one"), strict=True):
        assert one.pop("phase") == other.pop("phase")
        assert one == pytest.approx(other, rel=0.05)


@several
def test_a_stop_saves_the_step_and_two_go_on_bit_for_bit_and_one_goes_on(tmp_path, two, alone):
    run = tmp_path / "run"
    codes, said = group(2, "train", run, fault="SIGTERM", rank=1)
    assert codes == [75, 75], said
    assert left(run)[1] == 12 * 8
    shutil.copytree(run, tmp_path / "other")
    codes, said = group(2, "train", run)
    assert codes == [0, 0], said
    same(left(run)[0], left(two)[0])
    close(train(Blocks(), tmp_path / "other"), alone[0])


@several
def test_checkpoints_pass_between_one_two_and_three_processes_exactly(tmp_path, alone):
    source = alone[1] / "checkpoints"
    for size in (2, 3):
        target = tmp_path / str(size)
        codes, said = group(size, "convert", target, source=source)
        assert codes == [0] * size, said
        source = target
    toy, (path, position) = Blocks(), Checkpoints(source).latest()
    restore(path, toy.modules)
    same(weights(toy), alone[0])
    optimisers = {name: Optimiser(role) for name, role in toy.phases()[-1].roles.items()}
    restore_optimisers(path, position, optimisers)
    first, _ = Checkpoints(alone[1] / "checkpoints").latest()
    states = {f"{role}.{key}": value for role in "ab" for key, value in optimisers[role].state().items()}
    same(states, load_file(first / "optimisers.safetensors"))


@several
@pytest.mark.parametrize(
    ("fault", "codes", "sentence"),
    [
        ("nan", [3, 3], "process 1 of 2: the loss fit of role a is not finite in phase one at image 88"),
        ("memory", [3, 3], "process 1 of 2: the device's memory is too small for 4 images"),
        ("defect", [3, 1], "in process 1 of 2"),
    ],
)
def test_what_one_process_meets_ends_all_before_a_weight_moves(tmp_path, two, fault, codes, sentence):
    found, said = group(2, "train", tmp_path / "run", fault=fault, rank=1)
    assert found == codes, said
    assert sentence in said[1]
    assert said[0] == "", "one message is enough"
    assert left(tmp_path / "run")[1] == 64, "the last checkpoint before it"
    if fault == "nan":
        assert group(2, "train", tmp_path / "run")[0] == [0, 0]
        same(left(tmp_path / "run")[0], left(two)[0])


@several
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_leaves_no_other_hanging(tmp_path, rank):
    codes, said = group(2, "train", tmp_path / "run", fault="SIGKILL", rank=rank)
    assert codes[rank] == -9
    assert codes[1 - rank] == 3
    assert "another process is gone" in said[1 - rank]


@several
def test_parts_of_blocks_called_by_themselves_are_refused(tmp_path):
    codes, said = group(2, "train", tmp_path / "run", parts="true")
    assert codes == [3, 3]
    assert "use the weights of a block without calling the block" in "".join(said)
    assert "give train.parallel=ddp" in "".join(said)


@several
@pytest.mark.parametrize(("file", "rank"), [("optimisers-00002", 1), ("state.json", 0), ("manifest", 0)])
def test_a_kill_while_shards_are_written_leaves_the_checkpoint_before(tmp_path, two, file, rank):
    run = tmp_path / "run"
    codes, said = group(2, "train", run, kill_at=file, rank=rank)
    assert codes[rank] == -9, said
    assert codes[1 - rank] == 3
    if rank == 0:
        assert [path.name for path in (run / "checkpoints").glob(".*")] == [".000000000064-one.tmp"]
    assert left(run)[1] == 32
    assert group(2, "train", run)[0] == [0, 0]
    same(left(run)[0], left(two)[0])
    assert not list((run / "checkpoints").glob(".*"))


@several
def test_shards_that_may_not_be_written_are_one_sentence(tmp_path):
    codes, said = group(2, "train", tmp_path / "run", refuse_at="modules-00002", rank=1)
    assert codes == [3, 2], said
    assert said[0] == ""
    assert "a checkpoint can't be written to" in said[1]
    assert "(Permission denied); the ones before it are whole" in said[1]
    assert left(tmp_path / "run")[1] == 32
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


SHARD = "optimisers-00002-of-00002.safetensors"


@several
@pytest.mark.parametrize(
    "spoil",
    [
        lambda newest, boom: flip(newest / SHARD),
        lambda newest, boom: (newest / SHARD).unlink(),
        lambda newest, boom: (newest / SHARD).write_bytes(boom),
        lambda newest, boom: agree(newest, SHARD, boom),
        lambda newest, boom: agree(newest, SHARD, (newest / SHARD.replace("2-of", "1-of")).read_bytes()),
        lambda newest, boom: agree(newest, SHARD, None),
    ],
    ids=[
        "a flipped bit",
        "a missing shard",
        "a pickle",
        "an agreed pickle",
        "one twice",
        "an agreed absence",
    ],
)
def test_a_damaged_shard_puts_the_checkpoint_aside(two, tmp_path, spoil):
    import pickle

    folder = Path(shutil.copytree(two / "checkpoints", tmp_path / "checkpoints"))
    newest, older = Checkpoints(folder)._newest_first()
    for name in (".metadata", "__0_0.distcp"):  # where torch would look for pickles
        (newest / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
        (older / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    assert Checkpoints(folder).latest()[0] == newest, "what the manifest does not name is not looked at"
    spoil(newest, pickle.dumps(Bomb(tmp_path / "boom")))
    path, _ = Checkpoints(folder).latest()
    assert path == older
    restore(path, Blocks().modules)
    assert [each.name for each in (folder / "damaged").iterdir()] == [newest.name]
    assert not (tmp_path / "boom").exists()


def agree(newest, name, content):
    """The file has that content, or is not there, and the manifest agrees."""
    manifest = json.loads((newest / MANIFEST).read_text())["files"]
    if content is None:
        (newest / name).unlink()
        del manifest[name]
    else:
        (newest / name).write_bytes(content)
        manifest[name] = {"size": len(content), "sha256": File.of(newest / name).sha256}
    files = {key: File(**value) for key, value in manifest.items()}
    (newest / MANIFEST).write_text(Manifest(files).text())


@several
def test_a_checkpoint_of_another_network_is_refused(two):
    path, _ = Checkpoints(two / "checkpoints").latest()
    other = Blocks()
    other.modules["a"].head = torch.nn.Linear(15, 4)
    with pytest.raises(
        RunFolderError, match=r"size \[3\] under a.head.bias, and this method a tensor of size"
    ):
        restore(path, other.modules)


def test_weights_that_a_block_shares_are_refused_and_blocks_that_networks_share_are_not():
    one, other = Network(), Network()
    other.blocks[1] = one.blocks[1]
    assert list(sharded_blocks({"a": one, "b": other})) == [
        *(f"a.blocks.{n}" for n in range(3)),
        "b.blocks.0",
        "b.blocks.2",
    ]
    other.blocks[0].linear.weight = one.blocks[0].linear.weight
    with pytest.raises(
        ConfigError,
        match=r"fsdp can't shard b.blocks.0.linear.weight, which is a.blocks.0.linear.weight as well; "
        "give train.parallel=ddp",
    ):
        sharded_blocks({"a": one, "b": other})
    one = Network()
    one.head.weight = one.blocks[0].back.weight
    with pytest.raises(ConfigError, match=r"can't shard a.blocks.0.back.weight, which is a.head.weight as"):
        sharded_blocks({"a": one})
    one = Network()
    one.extra = one.blocks[2].linear
    with pytest.raises(ConfigError, match=r"which is a.extra.weight as well"):
        sharded_blocks({"a": one})


def test_a_torch_that_is_too_old_is_refused_when_the_run_is_configured():
    check_torch("2.9.0+cu128")
    with pytest.raises(ConfigError, match=r"needs torch 2.9 or newer, and this is 2.8.1; update it, or give"):
        check_torch("2.8.1")


def test_the_word():
    assert TrainConfig().parallel == "ddp"
    assert TrainConfig(parallel="fsdp").parallel == "fsdp"
    with pytest.raises(ValueError, match="parallel"):
        TrainConfig(parallel="dp")
