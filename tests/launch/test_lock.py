"""Whose a run folder is: two jobs in one, locks of the dead, file systems without locks, folders nobody can write."""

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from ardistill.errors import RunFolderError
from ardistill.launch.folder import create, existing, safe_name
from ardistill.launch.lock import LOCK, OWNER, holder, left_behind, locked
from ardistill.processes import Process

HOLD = "import sys; from pathlib import Path; from ardistill.launch.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); input()"


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_in_use_names_who_uses_it(tmp_path, other):
    with pytest.raises(RunFolderError) as refused, locked(tmp_path):
        pass
    said = str(refused.value)
    assert f"in use by process {other.pid} on {socket.gethostname()} since 20" in said
    assert holder(tmp_path).pid == other.pid
    other.communicate("\n")
    assert holder(tmp_path) is None
    assert left_behind(tmp_path) is None
    with locked(tmp_path):
        assert holder(tmp_path).pid == os.getpid()


def test_a_lock_of_the_dead_binds_nobody_and_tells_who_died(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert holder(tmp_path) is None
    assert left_behind(tmp_path).pid == other.pid
    with locked(tmp_path):
        assert left_behind(tmp_path) is None
    assert left_behind(tmp_path) is None


def test_whoever_only_looks_keeps_nobody_out(tmp_path):
    for _ in range(200):
        with locked(tmp_path):
            pass
        holder(tmp_path)


@pytest.mark.parametrize("record", ["", "[]", "{", '{"pid": "x"}', "[" * 20_000])
def test_a_damaged_record_still_refuses_in_one_sentence(tmp_path, record):
    with (tmp_path / LOCK).open("w") as file:
        file.write(record)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(RunFolderError, match=r"in use by process \? on an unknown machine"),
            locked(tmp_path),
        ):
            pass


@pytest.fixture
def lockless(monkeypatch):
    """A file system that knows no locks, of which there is none to test on."""

    def flock(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_without_kernel_locks_a_second_process_is_refused(tmp_path, lockless):
    with locked(tmp_path):
        assert holder(tmp_path).pid == os.getpid()
        with pytest.raises(RunFolderError, match=f"process {os.getpid()} on"), locked(tmp_path):
            pass
    assert holder(tmp_path) is None
    with locked(tmp_path):
        pass


def test_without_kernel_locks_a_dead_process_of_this_machine_gives_way(tmp_path, lockless):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    record = {"host": socket.gethostname(), "pid": int(dead.stdout), "since": "2020-01-01", "born": 7}
    (tmp_path / OWNER).write_text(json.dumps(record))
    assert left_behind(tmp_path).pid == int(dead.stdout)
    with locked(tmp_path):
        assert holder(tmp_path).pid == os.getpid()
    record |= {"pid": os.getpid()}  # a later process of the same number
    (tmp_path / OWNER).write_text(json.dumps(record))
    with locked(tmp_path):
        pass


def test_without_kernel_locks_another_machines_process_is_named_and_respected(tmp_path, lockless):
    (tmp_path / OWNER).write_text(json.dumps({"host": "node7", "pid": 1, "since": "2020-01-01"}))
    with (
        pytest.raises(
            RunFolderError, match=rf"process 1 on node7 since 2020-01-01.*remove {tmp_path}/{OWNER}"
        ),
        locked(tmp_path),
    ):
        pass
    assert (tmp_path / OWNER).exists()


def test_a_zombie_holds_nothing():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        known = Process.here(process.pid)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not known.alive()


def test_a_folder_that_can_not_be_written_is_one_sentence_with_code_2(tmp_path):
    (tmp_path / "config.toml").write_text('[method]\nname = "onestep*"\n[teacher]\nname = "var"\n')
    tmp_path.chmod(0o555)
    command = [sys.executable, "-m", "ardistill", "run", f"resume={tmp_path}"]
    if os.geteuid() == 0:  # whom permissions do not bind, unless that is taken away
        if shutil.which("setpriv") is None:
            pytest.skip("root can write anywhere, and there is no setpriv to change that")
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tmp_path.chmod(0o755)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"ardistill: {tmp_path} can't be written (Permission denied); a run needs a folder of its own that can\n"
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("onestep*-var", "onestep-var"),
        ("../../x", "x"),
        ("--help", "help"),
        ("a/b\\c d", "a-b-c-d"),
        ("nul\0.", "nul"),
        ("...", "run"),
        ("$(rm x)é\n", "rm-x"),
    ],
)
def test_names_of_folders_are_harmless(text, name):
    assert safe_name(text) == name


def test_long_names_are_cut_and_stay_apart(tmp_path):
    one, other = safe_name("a" * 300), safe_name("a" * 301)
    assert one != other
    assert len(one) == len(other) == 100
    (tmp_path / one).mkdir()


@pytest.mark.parametrize("name", ["x" * 300, "nul\0", "../" * 2000 + "x"])
def test_hostile_folders_are_one_short_sentence(name, tmp_path):
    for refuse in (lambda: create(tmp_path / name, ""), lambda: existing(tmp_path / name)):
        with pytest.raises(RunFolderError) as refused:
            refuse()
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 250
