"""Saving: beside the training, what is told of a failure, and the order in which things reach the disk."""

import os
import resource
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from ardistill.errors import RunFolderError
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.checkpoints.copying import affordable
from ardistill.training.checkpoints.manifest import FILES, MANIFEST
from tests.training.checkpoint_child import made, names, same_as_saved, saved

ALL = (*FILES, MANIFEST)


class Gate:
    """Stops whatever opens files to write below a folder, as long as it is shut."""

    def __init__(self):
        self.folder, self.reached, self.opened = None, threading.Event(), threading.Event()
        sys.addaudithook(self)

    def __call__(self, event, args):
        if (
            self.folder
            and event == "open"
            and str(args[0]).startswith(self.folder)
            and args[1] in ("w", "wb")
        ):
            self.reached.set()
            assert self.opened.wait(60)

    def shut(self, folder):
        self.folder = str(folder)
        self.reached.clear()
        self.opened.clear()

    def open(self):
        self.folder = None
        self.opened.set()


GATE = Gate()


@pytest.fixture
def gate():
    yield GATE
    GATE.open()


def test_a_save_beside_the_training_holds_the_moment_it_was_asked_for(gate, tmp_path):
    checkpoints = Checkpoints(tmp_path, asynchronous=True)
    position, modules, optimisers = made(1)
    gate.shut(tmp_path)
    checkpoints.save(position, modules, optimisers)
    assert gate.reached.wait(60)
    assert names(tmp_path) == [".000000000008-one.tmp"], "the caller goes on before anything is written"
    for module in modules.values():
        nn.init.zeros_(module.weight)
    for value in optimisers["a"].state().values():
        value.zero_()
    later = threading.Thread(target=checkpoints.save, args=made(2))
    later.start()
    later.join(0.1)
    assert later.is_alive(), "one save at a time"
    gate.open()
    later.join()
    path, found = checkpoints.latest()  # waits for the second
    assert found.update == 2
    assert same_as_saved(path, found, 2)
    first = tmp_path / "000000000008-one"
    assert same_as_saved(first, position, 1)


def test_memory_of_the_copies_is_used_again(tmp_path):
    checkpoints = Checkpoints(tmp_path, asynchronous=True)
    places = []
    for number in (1, 2):
        checkpoints.save(*made(number))
        checkpoints.wait()
        places.append({key: held.data_ptr() for key, held in checkpoints._copies._held.items()})
    assert places[0] == places[1]
    position, modules, _ = made(3, width=5)
    checkpoints.save(position, modules, {})
    assert len(checkpoints._copies._held) == 4, "what is no longer saved is given back"
    assert checkpoints.latest()[1] == position


def test_what_a_copy_may_take():
    huge = nn.Module()
    huge.weight = nn.Parameter(torch.zeros(1).expand(1 << 40))  # its size is what counts
    assert not affordable({"f": huge.state_dict()})
    assert affordable({"f": nn.Linear(9, 9).state_dict()})


def test_states_whose_copy_would_take_much_memory_are_written_at_once(tmp_path):
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    checkpoints = Checkpoints(tmp_path, asynchronous=True)
    checkpoints.save(made(1)[0], {"a": nn.Linear(most // 4 // 8, 1, bias=False)}, {})
    assert names(tmp_path) == ["000000000008-one"], "it is there when the call returns"
    assert not checkpoints._copies._held


def test_a_failed_save_is_told_once_at_the_next_or_at_the_end(tmp_path):
    (tmp_path / "c").write_text("in the way")
    checkpoints = Checkpoints(tmp_path / "c", asynchronous=True)
    checkpoints.save(*made(1))
    with pytest.raises(
        RunFolderError, match=r"can't be written to .*/c \(.*\); the ones before it are whole"
    ):
        checkpoints.save(*made(2))
    checkpoints.close()  # that save did not begin, and the failure has been told
    (tmp_path / "c").unlink()
    checkpoints.save(*made(2))
    checkpoints.close()
    checkpoints.close()
    assert checkpoints.latest()[1] == made(2)[0]


def test_a_block_waits_and_does_not_hide_what_ended_it(gate, tmp_path, caplog):
    def block(checkpoints, error=None):
        with checkpoints:
            checkpoints.save(*made(1))
            if error is not None:
                raise error

    gate.shut(tmp_path)
    timer = threading.Timer(0.2, gate.open)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        block(Checkpoints(tmp_path, asynchronous=True), KeyboardInterrupt())
    assert names(tmp_path) == ["000000000008-one"]
    (tmp_path / "file").write_text("in the way")
    hindered = Checkpoints(tmp_path / "file", asynchronous=True)
    with pytest.raises(KeyboardInterrupt):
        block(hindered, KeyboardInterrupt())
    assert "can't be written" in caplog.text
    with pytest.raises(RunFolderError):
        block(hindered)


def test_everything_is_on_the_disk_before_it_has_a_name_and_before_anything_is_deleted(tmp_path, monkeypatch):
    """The order of fsync, rename and deletion, as the system is asked for them."""
    folder = tmp_path / "run" / "checkpoints"
    asked, fsync, rename = [], os.fsync, os.rename

    def told_fsync(descriptor):
        asked.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def told_rename(source, target):
        asked.append(("rename", str(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(os, "rename", told_rename)
    saved(folder, 1)
    assert asked.index(("fsync", str(tmp_path))) < asked.index(("fsync", str(folder.parent)))
    asked.clear()
    Checkpoints(folder, keep=1).save(*made(2, width=6))
    aside = folder / ".000000000016-one.tmp"
    files = [asked.index(("fsync", next(path for what, path in asked if file in path))) for file in ALL]
    assert files == sorted(files), "the manifest last"
    inside = max(place for place, step in enumerate(asked) if step == ("fsync", str(aside)))
    named = asked.index(("rename", str(folder / "000000000016-one")))
    above = asked.index(("fsync", str(folder)))
    deleted = asked.index(("rename", str(folder / ".000000000008-one.tmp")))
    assert files[-1] < inside < named < above < deleted
