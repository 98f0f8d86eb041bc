import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from ardistill.config import structure_words
from ardistill.config.speed import SpeedConfig
from ardistill.errors import ConfigError
from ardistill.evaluation.timing.compiling import compiling, networks
from ardistill.evaluation.timing.memory import available
from ardistill.evaluation.timing.speed import Subject, Summary, Timing, summary, time_all
from tests.evaluation.fakes import Silence
from tests.logged import logged

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Clock:
    """Shows the time that the work says has passed."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def subject(name, clock, latents, decode=0.0, told=None, fits=10**9):
    """Takes latents(batch) seconds, and `decode` more for each image; up to `fits` of them fit into memory."""

    def make(batch):
        if batch > fits:
            raise torch.OutOfMemoryError("full")
        if told is not None:
            told.append((name, batch))
        clock.now += latents(batch)
        return torch.zeros(batch, 2, 3)

    def paint(latents_BLC):
        clock.now += decode * len(latents_BLC)
        return latents_BLC

    return Subject(name, make, paint)


def timed(subjects, clock, **words):
    given = {"batches": (1, 4), "repeats": 5, "budget": 1e9, "device": CPU, "progress": Silence()}
    return time_all(subjects, clock=clock, **(given | words))


def at(timings, name, batch, decoding=True, compiled=False):
    (found,) = [
        each
        for each in timings
        if (each.name, each.batch, each.decoding, each.compiled) == (name, batch, decoding, compiled)
    ]
    return found


def test_seconds_per_image_with_and_without_decoding():
    clock = Clock()
    subjects = [
        subject("slow", clock, lambda batch: 0.2 + 0.1 * batch, 0.05),
        subject("fast", clock, lambda _: 0.1),
    ]
    timings = timed(subjects, clock)
    assert len(timings) == 8
    assert at(timings, "slow", 1, decoding=False).seconds == pytest.approx(0.3)
    assert at(timings, "slow", 1).seconds == pytest.approx(0.35)
    assert at(timings, "slow", 4).seconds == pytest.approx(0.2)
    assert at(timings, "fast", 4).seconds == pytest.approx(0.025)
    assert {each.repeats for each in timings} == {5}
    assert not any(each.compiled or each.largest for each in timings)


def test_median_and_spread_without_the_warm_up():
    clock, passing = Clock(), iter([9, 9, 1, 9, 6, 9, 2, 9])
    (latents, images) = timed([subject("one", clock, lambda _: next(passing))], clock, batches=[1], repeats=3)
    assert (latents.seconds, latents.fastest, latents.slowest) == (2, 1, 6)
    assert (images.seconds, images.fastest, images.slowest) == (9, 9, 9)


def test_all_take_turns():
    clock, told = Clock(), []
    subjects = [subject(name, clock, lambda _: 1.0, told=told) for name in "ab"]
    timed(subjects, clock, batches=[2], repeats=3, warmup=2)
    assert told == [("a", 2), ("a", 2), ("b", 2), ("b", 2)] * 5


def test_slow_work_is_repeated_less():
    clock, progress = Clock(), Silence()
    both = [subject("slow", clock, lambda batch: 1.0 * batch)]
    timings = timed(both, clock, batches=[1, 8], repeats=9, budget=12.0, progress=progress)
    assert at(timings, "slow", 1).repeats == 6, "two calls a round, the warm-up's included"
    assert at(timings, "slow", 8).repeats == 3
    assert progress.told[-1] == (10, 10, "timing batches of 8")


def test_no_repeats_no_speed():
    assert timed([subject("one", Clock(), lambda _: 1.0)], Clock(), repeats=0) == ()


@pytest.mark.parametrize("wrong", [{"batches": [0]}, {"batches": []}, {"repeats": -1}, {"warmup": -1}])
def test_nothing_to_time(wrong):
    with pytest.raises(ValueError, match="cannot time"):
        timed([], Clock(), **wrong)


def test_what_does_not_fit_is_left_out():
    clock = Clock()
    subjects = [subject("small", clock, lambda _: 1.0), subject("large", clock, lambda _: 1.0, fits=3)]
    timings = timed(subjects, clock, batches=[1, 2, 4])
    assert {each.batch for each in timings if each.name == "small"} == {1, 2, 4}
    assert {each.batch for each in timings if each.name == "large"} == {1, 2}
    assert summary(timings, "small").seconds_per_image == 0.5, "at the largest batch that both were timed at"


@pytest.mark.skipif(available() is None, reason="the system does not tell its memory")
def test_the_largest_batch_of_each():
    clock = Clock()
    subjects = [
        subject("roomy", clock, lambda _: 1.0),
        subject("tight", clock, lambda _: 1.0, fits=20),
        subject("given", clock, lambda _: 1.0, fits=5),
        subject("below", clock, lambda _: 1.0, fits=1),
    ]
    timings = timed(subjects, clock, largest=True, most=64)
    assert {(each.name, each.batch) for each in timings if each.largest} == {
        ("roomy", 64),
        ("tight", 16),
        ("given", 4),
        ("below", 1),
    }
    assert len([each for each in timings if each.largest]) == 8, "with and without decoding"
    assert {each.batch for each in timings if each.name == "tight"} == {1, 4, 16}


MEMORY = """
import torch
from tests.evaluation.test_speed import Clock, Subject, timed

def latents(batch):
    return torch.ones(batch, 10 << 20)  # 40 MiB each: more than an allocator keeps

timings = timed([Subject("one", latents, torch.clone)], Clock(), batches=[1, 4], repeats=3)
print(*(each.peak_bytes for each in timings[1::2]))
"""


@pytest.mark.skipif(available() is None, reason="the system does not tell its memory")
def test_memory_of_the_cpu():
    """In a process of its own, since what is told is the whole process's."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=ROOT, capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    assert 220 << 20 < many - few < 260 << 20, "latents and images of three more"


def timing(name, batch, seconds, decoding=True, compiled=False):
    return Timing(name, batch, decoding, compiled, seconds, seconds - 1, seconds + 1, 5)


def test_summary():
    timings = [timing("a", 1, 5.0), timing("a", 8, 4.0), timing("a", 64, 3.0), timing("b", 8, 2.0)]
    timings += [timing("a", 1, 9.0, decoding=False), timing("a", 1, 9.0, compiled=True)]
    assert summary(timings, "a") == Summary(5.0, (4.0, 6.0), 4.0, (3.0, 5.0))
    assert summary(timings, "b") == Summary(None, None, 2.0, (1.0, 3.0))
    assert summary(timings, "c") == summary([], "c") == Summary()


# Compiled


class Steps(nn.Module):
    """Two steps of one network, each on a sequence of its own length, as samplers do."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(2))
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.5)

    def latents(self, batch):
        x_BLC = torch.arange(batch * 3.0).reshape(batch, 1, 3)
        for block in self.blocks:
            x_BLC = torch.cat([x_BLC, block(x_BLC)], dim=1)
        return x_BLC


class Counting:
    """A backend that runs graphs as they are, and counts."""

    def __init__(self):
        self.graphs = self.calls = 0

    def __call__(self, graph, _):
        self.graphs += 1
        warnings.warn("compilers have much to say", UserWarning, stacklevel=1)

        def run(*inputs):
            self.calls += 1
            return graph(*inputs)

        return run


def test_networks_are_the_outermost_modules_that_have_layers():
    steps, inner = Steps(), nn.Sequential(nn.Linear(3, 3))
    outer, lone = nn.Sequential(inner, nn.Tanh()), nn.Linear(3, 3)
    assert networks(lambda: (steps.latents(2), steps.latents(2))) == list(steps.blocks)
    assert networks(lambda: outer(lone(torch.zeros(1, 3)))) == [outer]
    assert networks(lambda: inner(torch.zeros(1, 3))) == [inner], "hooks of an earlier call are gone"


def test_compiled_calls_run_what_was_compiled_and_eager_ones_do_not():
    steps, backend = Steps(), Counting()
    timings = timed(
        [Subject("net", steps.latents, torch.tanh)], Clock(), repeats=3, compile=True, backend=backend
    )
    assert [(each.batch, each.decoding, each.compiled) for each in timings] == [
        (batch, decoding, compiled)
        for batch in (1, 4)
        for compiled in (False, True)
        for decoding in (False, True)
    ]
    # 2 blocks x 2 batches x 2 works (with decoding and without) x (2 calls to compile, 1 to warm up, 3 counted)
    assert backend.calls == 2 * 2 * 2 * 6
    assert backend.graphs < 8, "one for each block, batch and length at most"
    assert "forward" not in vars(steps.blocks[0]), "the module is as it was"


def test_a_network_with_a_forward_of_its_own_keeps_it():
    steps = Steps()
    block = steps.blocks[0]
    own = block.forward = lambda x: 2 * x
    timed([Subject("net", steps.latents, torch.tanh)], Clock(), compile=True, backend=Counting())
    assert block.forward is own


def test_without_a_network_there_is_nothing_to_compile():
    table = subject("table", Clock(), lambda _: 1.0)
    assert not any(each.compiled for each in timed([table], Clock(), compile=True, backend=Counting()))


def test_what_cannot_be_compiled_is_timed_eagerly():
    def broken(*_):
        raise RuntimeError("there is no compiler\nand more about it")

    steps = Steps()
    subjects = [Subject("net", steps.latents, torch.tanh), subject("table", Clock(), lambda _: 1.0)]
    with logged(r"^net has no compiled .*\(.*: there is no compiler\)$") as told:
        timings = timed(subjects, Clock(), compile=True, backend=broken)
    assert len(told) == 1
    assert len(timings) == 8
    assert not any(each.compiled for each in timings)


class Moody(nn.Module):
    """Compiled anew for every mood."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, x, mood):
        return self.inner(x) + len(mood + "!")


def test_endless_recompiling_counts_as_failure(monkeypatch):
    monkeypatch.setattr("ardistill.evaluation.timing.compiling._RECOMPILATIONS", 4)
    moody = Moody()

    def latents(batch):
        for i in range(6):
            x = moody(torch.zeros(batch, 2, 3), f"mood {i}")
        return x

    with logged("^moody .*recompile limit"):
        timings = timed(
            [Subject("moody", latents, torch.tanh)], Clock(), batches=[1], compile=True, backend=Counting()
        )
    assert len(timings) == 2


@pytest.mark.slow
def test_compiled_and_eager_agree():
    """By torch's own compiler, which takes its time."""
    steps = Steps()
    with torch.no_grad(), compiling(CPU) as compiler, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = compiler.compiled(steps.latents, 2)
        for batch in (1, 2, 5):
            torch.testing.assert_close(run(batch), steps.latents(batch))
    timings = timed([Subject("net", steps.latents, torch.tanh)], Clock(), compile=True)
    assert len(timings) == 8


# On a GPU


@gpu
def test_waits_for_the_device_and_tells_its_memory():
    device = torch.device("cuda")
    matrix = torch.randn(4096, 4096, device=device)

    def latents(_):
        product = matrix
        for _ in range(20):
            product = product @ matrix
        return product

    subjects = [Subject("work", latents, torch.tanh), Subject("nothing", lambda _: matrix, lambda x: x)]
    timings = time_all(subjects, batches=[1], repeats=5, device=device, progress=Silence())
    work, nothing = at(timings, "work", 1), at(timings, "nothing", 1)
    assert work.seconds > 20 * 2 * 4096**3 / 2e15, "faster than any device is"
    assert work.seconds > 20 * nothing.seconds
    assert work.peak_bytes - nothing.peak_bytes >= 2 * 4 * 4096**2


@gpu
def test_batches_that_a_gpu_does_not_hold():
    device = torch.device("cuda")
    free, _ = torch.cuda.mem_get_info(device)

    def latents(batch):
        return torch.ones(batch, free // 6, 1, dtype=torch.uint8, device=device)

    timings = time_all(
        [Subject("one", latents, lambda x: x)],
        batches=[1, 8],
        largest=True,
        repeats=3,
        device=device,
        progress=Silence(),
    )
    assert {(each.batch, each.largest) for each in timings} == {(1, False), (4, True)}


# Configuration


def test_words():
    config = structure_words(["batches=1,16", "largest=true", "repeats=3"], SpeedConfig)
    assert config == SpeedConfig((1, 16), largest=True, repeats=3)
    assert structure_words(["preset=quick"], SpeedConfig) == SpeedConfig((1, 64), repeats=5)


@pytest.mark.parametrize("word", ["batches=", "batches=0,1", "batches=8,1", "batches=1,1", "repeats=-1"])
def test_wrong_words(word):
    with pytest.raises(ConfigError, match=r"^(batches|repeats) must be"):
        structure_words([word], SpeedConfig)
