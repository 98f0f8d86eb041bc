import sys
from pathlib import Path

import pytest
import torch

from ardistill.evaluation.timing import memory
from ardistill.evaluation.timing.memory import available, largest_batch, peak, unless_full

CPU = torch.device("cpu")
MIB = 1 << 20

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the resident set")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def take(mib, device="cpu"):
    """Takes, fills and frees memory."""
    return torch.ones(mib * MIB // 4, device=device)[-1].item()


@linux
def test_the_peak_is_of_the_block_alone_and_survives_its_freeing():
    with peak(CPU) as before:
        pass
    with peak(CPU) as high:
        take(128)
    with peak(CPU) as after:
        pass
    assert 120 * MIB < high.bytes - before.bytes < 160 * MIB
    assert after.bytes < high.bytes - 100 * MIB


def test_a_system_that_does_not_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    with peak(CPU) as high:
        pass
    assert high.bytes is None
    assert available(tmp_path / "proc", tmp_path / "cgroup") is None


@linux
def test_this_machine_has_memory_left():
    total = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")]
    assert 0 < available() < int(total[0].split()[1]) * 1024


def system(folder, groups, cgroup):
    """A /proc with 1000 kB available, and the control groups of {path: {file: text}}."""
    proc = folder / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:       9000 kB\nMemAvailable:   1000 kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    for path, files in groups.items():
        (folder / "cgroup" / path).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / "cgroup" / path / name).write_text(f"{text}\n")
    return proc, folder / "cgroup"


def v2(limit, used, stat="anon 1"):
    return {"memory.max": limit, "memory.current": used, "memory.stat": stat}


@pytest.mark.parametrize(
    ("groups", "left"),
    [
        ({"": {}}, 1000 * 1024),
        ({"": v2("max", 5)}, 1000 * 1024),
        ({"": v2(9000, 4000)}, 5000),  # what a container sees
        ({"job": v2("max", 4000), "job/step": v2(9000, 4000, "anon 1\ninactive_file 300")}, 5300),
        ({"job": v2(6000, 5500), "job/step": v2(9000, 4000)}, 500),  # the job's limit binds its step
        ({"job/step": v2(9000, 9500)}, 0),
        ({"other": v2(9000, 4000)}, 1000 * 1024),
    ],
)
def test_control_groups_bind(groups, left, tmp_path):
    assert available(*system(tmp_path, groups, "0::/job/step\n")) == left


def test_control_groups_of_the_first_version_bind(tmp_path):
    used = {"memory.usage_in_bytes": 4000, "memory.stat": "inactive_file 7\ntotal_inactive_file 300"}
    groups = {"memory/job": {"memory.limit_in_bytes": 9000, **used}, "cpu/job": {"memory.limit_in_bytes": 1}}
    assert available(*system(tmp_path, groups, "3:cpu,cpuacct:/job\n2:memory:/job\n0::/\n")) == 5300


def test_what_does_not_fit_is_none():
    def full():
        raise torch.OutOfMemoryError("full")

    assert unless_full(full, CPU) is None
    assert unless_full(lambda: 3, CPU) == 3
    with pytest.raises(ValueError, match="other"):
        unless_full(lambda: int("other"), CPU)


@linux
def test_the_largest_batch_takes_less_than_half_of_the_memory_that_is_left():
    tried = []

    def seconds_at(batch):
        tried.append(batch)
        take(32 * batch)
        return 0.0

    # 8 images take 256 MiB, 16 would take 512, and half of what is left are 400.
    assert largest_batch(seconds_at, 2, CPU, room=lambda: 800 * MIB) == 8
    assert tried == [2, 4, 8]


@linux
def test_the_largest_batch_is_bounded_by_patience_by_most_and_by_the_device():
    room = lambda: 1 << 60  # noqa: E731

    def crowded(batch):
        if batch > 12:
            raise torch.OutOfMemoryError("full")
        return 0.0

    assert largest_batch(crowded, 3, CPU, room=room) == 12
    assert largest_batch(crowded, 16, CPU, room=room) is None
    assert largest_batch(lambda _: 0.0, 3, CPU, most=100, room=room) == 96
    assert largest_batch(lambda batch: 1.0 * batch, 1, CPU, patience=5, room=room) == 8
    assert largest_batch(lambda _: 0.0, 1, CPU, room=lambda: None) is None


@gpu
def test_a_gpus_peak_and_its_largest_batch():
    device = torch.device("cuda")
    torch.cuda.init()
    with peak(device) as high:
        take(64, device)
    assert 64 * MIB <= high.bytes - torch.cuda.memory_allocated(device) < 80 * MIB
    free, _ = torch.cuda.mem_get_info(device)

    def seconds_at(batch):
        take(batch * free // (6 * MIB), device)
        return 0.0

    assert largest_batch(seconds_at, 1, device) == 4
    assert torch.cuda.memory_reserved(device) < free / 6
