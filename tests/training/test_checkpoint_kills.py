"""Checkpoints of a process that is killed, or that the system refuses room: nothing committed is ever lost."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes  # some 150 children, a second or so each

CHILD = Path(__file__).parent / "checkpoint_child.py"
HOWS = pytest.mark.parametrize("how", ["sync", "async"])
TASKS = [
    f"{task}:{how}" for task in ("operations", "bytes", "times", "readonly") for how in ("sync", "async")
]
LEFT = {"", "/manifest.json", "/modules.safetensors", "/optimisers.safetensors", "/state.json"}


def told(base, *tasks, before=()):
    """What the child says, by task."""
    command = [*before, sys.executable, str(CHILD), str(base), *tasks]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    said = {}
    for line in map(json.loads, done.stdout.splitlines()):
        if "task" in line:
            lines = said[line["task"]] = []
        else:
            lines.append(line)
    return said


@pytest.fixture(scope="module")
def found():
    """What is found after every kill. In memory where the system has that: what survives SIGKILL is the same."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as base:
        Path(base).chmod(0o755)  # other users can enter
        yield told(base, *TASKS, "unreadable:sync", "leave:async")


def check(kill):
    assert kill["found"] in (kill["committed"], kill["committed"] + 1), kill
    assert kill["same"], kill
    assert kill["after"] == 1, kill
    assert {name.partition("-one")[2] for name in kill["left"]} == LEFT, (
        "a later save clears what a kill left"
    )
    assert len(kill["left"]) == len(LEFT), kill


@HOWS
def test_a_kill_before_any_file_operation_loses_nothing_committed(found, how):
    *kills, last = found[f"operations:{how}"]
    assert last["committed"] is None, "there is an end to the operations"
    assert len(kills) > 40
    for kill in kills:
        check(kill)
    assert {kill["committed"] for kill in kills} == {0, 1}
    assert any(kill["found"] > kill["committed"] for kill in kills), (
        "a kill between the commit and its report"
    )


@HOWS
def test_a_kill_inside_any_write_loses_nothing_committed(found, how):
    kills = found[f"bytes:{how}"]
    assert len(kills) == 2 * 4 * 2
    for kill in kills:
        check(kill)
        assert kill["found"] == kill["committed"], "what was cut short is not used"


@HOWS
def test_a_kill_at_any_moment_loses_nothing_committed(found, how):
    kills = found[f"times:{how}"]
    assert len(kills) == 12
    for kill in kills:
        check(kill)


def check_refused(said, reason):
    assert said["said"].startswith("a checkpoint can't be written to ")
    assert f"({reason}); the ones before it are whole: " in said["said"]
    assert "\n" not in said["said"]
    assert said["code"] == 2
    assert said["found"] == said["committed"] == said["count"] >= 2
    assert said["same"]
    assert said["hidden"] == []


@HOWS
def test_a_folder_that_may_not_be_written_to_is_one_sentence(found, how):
    (said,) = found[f"readonly:{how}"]
    check_refused(said, "Permission denied")
    assert said["said"].endswith("let it be written to, then run resume=DIR")


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(found):
    (said,) = found["unreadable:sync"]
    assert "modules.safetensors can't be read (Permission denied); let it be read, then run" in said["said"]
    assert said["code"] == 2
    assert said["there"] == 1


def test_a_process_that_ends_without_waiting_ends_when_the_save_is_committed(found):
    (there,) = found["leave:async"]
    check({"committed": 1, **there})


def test_a_full_disk_is_one_sentence_and_the_earlier_checkpoints_are_whole(tmp_path):
    room = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o size=300k none "{tmp_path}" && exec "$0" "$@"',
    ]
    if shutil.which("unshare") is None or subprocess.run([*room, "true"], check=False).returncode:
        pytest.skip("a file system of its own may not be mounted here")
    for how in ("sync", "async"):
        ((said, again),) = told(tmp_path, f"full:{how}", before=room).values()
        check_refused(said, "No space left on device")
        assert said["said"].endswith("make room, then run resume=DIR")
        assert again == {"after": 1}, "once there is room, saving goes on"
