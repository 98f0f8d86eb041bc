"""Checkpoints as they lie in the folder: damage, and which ones stay."""

import os
import pickle
import shutil
import tempfile
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ardistill.config import CheckpointConfig
from ardistill.errors import RunFolderError
from ardistill.training.checkpoint import Checkpoints, restore
from ardistill.training.checkpoints.manifest import FILES, MANIFEST, Manifest
from tests.training.checkpoint_child import made, names, saved

ALL = (*FILES, MANIFEST)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with the checkpoints of saves 1 and 2."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    saved(folder, 2)
    return folder


@pytest.fixture
def copy(two):
    """Makes copies of it, as many as are wanted."""
    with tempfile.TemporaryDirectory() as base:

        def make():
            return Path(shutil.copytree(two, Path(tempfile.mkdtemp(dir=base)) / "checkpoints"))

        yield make


def older_is_used(folder, caplog):
    """The newest is damaged: it is named, put aside whole, not counted by `keep`, and the one before it serves."""
    newest, older = names(folder)[::-1]
    before = {path.name: path.read_bytes() for path in (folder / newest).iterdir() if path.is_file()}
    caplog.clear()
    found = Checkpoints(folder).latest()
    assert found[0] == folder / older
    assert found[1] == made(1)[0]
    (record,) = caplog.records
    assert record.name == "ardistill"
    assert record.getMessage().startswith(
        f"{folder / newest} is a damaged checkpoint and is not used; it is kept as"
    )
    aside = folder / "damaged" / newest
    assert {path.name: path.read_bytes() for path in aside.iterdir() if path.is_file()} == before
    Checkpoints(folder, keep=2).save(*made(3, width=6))
    assert names(folder) == [older, "000000000024-one", "damaged"]
    assert Checkpoints(folder).latest()[1] == made(3)[0]


@given(file=st.sampled_from(ALL), place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
@settings(max_examples=60)
def test_a_flipped_byte(file, place, bits, two):
    with tempfile.TemporaryDirectory() as base:
        folder = Path(shutil.copytree(two, Path(base) / "checkpoints"))
        path = folder / "000000000016-one" / file
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= bits
        path.write_bytes(content)
        found = Checkpoints(folder).latest()
        assert found[0].name == "000000000008-one"
        assert found[1] == made(1)[0]
        assert names(folder / "damaged") == ["000000000016-one"]


@pytest.mark.parametrize("file", ALL)
def test_a_file_cut_short_or_longer_or_missing_or_no_file(file, copy, caplog):
    for spoil in (
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    ):
        folder = copy()
        spoil(folder / "000000000016-one" / file)
        older_is_used(folder, caplog)


@pytest.mark.parametrize("file", ALL)
def test_files_swapped_between_two_checkpoints(file, copy, caplog):
    folder = copy()
    one, other = (folder / name / file for name in names(folder))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(
        RunFolderError, match=r"every checkpoint .* damaged \(000000000016-one, 000000000008-one\)"
    ):
        Checkpoints(folder).latest()
    with pytest.raises(RunFolderError, match="damaged"):  # not even later is it taken for a new run
        Checkpoints(folder).latest()


def test_two_checkpoints_with_each_others_names(copy):
    folder = copy()
    (folder / "000000000016-one").rename(folder / "x")
    (folder / "000000000008-one").rename(folder / "000000000016-one")
    (folder / "x").rename(folder / "000000000008-one")
    with pytest.raises(RunFolderError, match="every checkpoint"):
        Checkpoints(folder).latest()


def test_an_empty_folder_and_one_without_a_manifest(copy, caplog):
    folder = copy()
    (folder / "000000000016-one" / MANIFEST).unlink()
    older_is_used(folder, caplog)
    folder = copy()
    shutil.rmtree(folder / "000000000016-one")
    (folder / "000000000016-one").mkdir()
    older_is_used(folder, caplog)


def test_what_is_no_checkpoint_is_passed_over_and_left_alone(copy, caplog):
    folder = copy()
    (folder / "notes.txt").write_text("dear")
    (folder / "mine").mkdir()
    (folder / "000000000016-one" / "extra").write_text("not ours")
    found = Checkpoints(folder).latest()
    assert found[0].name == "000000000016-one"
    Checkpoints(folder, keep=1).save(*made(3, width=6))
    assert names(folder) == ["000000000024-one", "mine", "notes.txt"]
    assert not caplog.records


def test_one_that_was_cut_short_later_does_not_count_as_kept(copy, caplog):
    folder = copy()
    (folder / "000000000016-one" / "modules.safetensors").write_bytes(b"")
    Checkpoints(folder, keep=2).save(*made(3, width=6))
    assert names(folder) == ["000000000008-one", "000000000024-one", "damaged"]
    assert "000000000016-one is a damaged checkpoint" in caplog.text


class Bomb:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("agreeing", [False, True])
@pytest.mark.parametrize("file", ALL)
def test_a_pickle_is_damage_and_does_not_run_even_if_the_manifest_agrees(
    file, agreeing, copy, caplog, tmp_path
):
    folder = copy()
    newest = folder / "000000000016-one"
    (newest / file).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    if agreeing and file != MANIFEST:
        (newest / MANIFEST).write_text(Manifest.of(newest).text())
    older_is_used(folder, caplog)
    assert not (tmp_path / "boom").exists()


def test_a_manifest_leads_nowhere_else(copy, caplog):
    folder = copy()
    manifest = folder / "000000000016-one" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"state.json"', '"../../secret"'))
    (folder.parent / "secret").write_bytes((folder / "000000000016-one" / "state.json").read_bytes())
    older_is_used(folder, caplog)


@given(
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    keep=st.integers(1, 4),
    permanent=st.integers(0, 60),
)
@settings(max_examples=15)
def test_the_latest_stay_and_the_first_at_or_after_each_multiple(steps, keep, permanent):
    with tempfile.TemporaryDirectory() as base:
        checkpoints = Checkpoints(Path(base) / "c", keep=keep, permanent=permanent)
        images, wanted = [], set()
        for step in steps:
            images.append((images[-1] if images else 0) + 8 * step)
            position, _, _ = made(1)
            module = nn.Linear(1, 1)
            checkpoints.save(attrs.evolve(position, total_images=images[-1]), {"a": module}, {})
            wanted = set(images[-keep:])
            if permanent:
                for multiple in range(permanent, images[-1] + 1, permanent):
                    wanted.add(next(count for count in images if count >= multiple))
            assert {int(name.partition("-")[0]) for name in names(checkpoints.folder)} == wanted


def test_the_words() -> None:
    assert CheckpointConfig() == CheckpointConfig(every=20_000, keep=2, permanent=0, asynchronous=True)
    for words in ({"keep": 0}, {"permanent": -1}, {"every": 0}):
        with pytest.raises(ValueError, match=next(iter(words))):
            CheckpointConfig(**words)


def test_a_position_saved_again_takes_the_place_of_the_earlier_one(tmp_path):
    checkpoints = saved(tmp_path / "c", 2, keep=1)
    position, *_ = made(2)
    _, modules, optimisers = made(7, width=6)
    for version in ("@2", "@3"):
        checkpoints.save(position, modules, optimisers)
        assert names(tmp_path / "c") == [f"000000000016-one{version}"]
        path, found = checkpoints.latest()
        assert found == position
        loaded = nn.Linear(6, 6)
        restore(path, {"a": loaded})
        assert loaded.weight.equal(modules["a"].weight)


@pytest.mark.parametrize("phase", ["../../up", "a/b", "tune@2", "two.tmp", "größer", "a\0b", "."])
def test_a_phase_of_any_name_stays_within_the_folder(phase, tmp_path):
    position, modules, optimisers = made(1)
    position = attrs.evolve(position, phase=phase)
    Checkpoints(tmp_path / "c").save(position, modules, optimisers)
    path, found = Checkpoints(tmp_path / "c").latest()
    assert found == position
    assert path.parent == tmp_path / "c"
    assert names(tmp_path) == ["c"]


def test_tensors_that_share_memory_and_other_dtypes_come_back(tmp_path):
    module = nn.Linear(3, 3, bias=False)
    tied = nn.Linear(3, 3, bias=False)
    tied.weight = module.weight
    modules = {"a": module, "tied": tied, "half": nn.Linear(2, 2).bfloat16(), "norm": nn.BatchNorm1d(2)}
    for asynchronous in (False, True):
        checkpoints = Checkpoints(tmp_path / str(asynchronous), asynchronous=asynchronous)
        checkpoints.save(made(1)[0], modules, {})
        path, _ = checkpoints.latest()
        others = {"a": nn.Linear(3, 3, bias=False), "tied": nn.Linear(3, 3, bias=False)}
        others |= {"half": nn.Linear(2, 2).bfloat16(), "norm": nn.BatchNorm1d(2)}
        restore(path, others)
        for name, other in others.items():
            for key, value in other.state_dict().items():
                assert value.equal(modules[name].state_dict()[key])


@given(hours=st.lists(st.integers(-50_000, 50_000), min_size=3, max_size=3))
@settings(max_examples=20)
def test_a_clock_that_goes_backwards_changes_nothing(hours):
    """What is newest, and what stays, is told by the images alone, whatever times the files carry."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "checkpoints"
        for number, shift in enumerate(hours, start=1):
            Checkpoints(folder, keep=9).save(*made(number))
            (newest,) = [path for path in folder.iterdir() if path.name.startswith(f"{8 * number:012d}")]
            for path in (*newest.iterdir(), newest):
                time = path.stat().st_mtime + 3600 * shift
                os.utime(path, (time, time))
        assert Checkpoints(folder).latest()[1] == made(3)[0]
        Checkpoints(folder, keep=2).save(*made(4))
        assert names(folder) == ["000000000024-one", "000000000032-one"]
