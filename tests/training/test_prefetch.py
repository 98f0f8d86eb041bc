"""Numbers made ahead: the same bits whatever was foreseen, and a thread that ends with the run."""

import os
import signal
import threading
from concurrent.futures import wait

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill.noise import Draw
from ardistill.training.faults import Interrupted
from ardistill.training.optimise import Optimiser
from ardistill.training.prefetch import Prefetch
from ardistill.training.signals import Signals
from ardistill.training.step import Engine, Step
from tests.training.toy import Toy, train

pytestmark = pytest.mark.filterwarnings("ignore:.*tensorboard.*")

CPU = torch.device("cpu")
asked = st.one_of(
    st.tuples(st.just("normal"), st.sampled_from("xy"), st.sampled_from([(), (2,), (2, 3)])),
    st.tuples(st.just("uniform"), st.sampled_from("xy"), st.sampled_from([(), (2,), (0,)])),
    st.tuples(st.just("integers"), st.sampled_from("xy"), st.sampled_from([(7,), (9,), (9, 2)])),
)


class Moody(Toy):
    """Asks for other numbers every few images: names, shapes and kinds change, and so does how often."""

    def __init__(self, period):
        super().__init__()
        self.period = period

    def losses(self, role, draw):
        mood = int(draw.indices()[0]) // self.period
        more = draw.uniform(f"n{mood % 3}", 1 + mood % 2).mean()
        if mood % 2:
            more = more + draw.normal("x", 3).mean() + draw.integers("k", 2 + mood % 4).float().mean()
        else:
            more = more + draw.update.uniform("u").mean()
        plain = super().losses(role, draw)
        return {**plain, "more": more * plain["size"]}


def running():
    return [each for each in threading.enumerate() if each.name.startswith("prefetch")]


def settled(prefetch):
    """Waits for what is on its way."""
    if prefetch._next is not None:
        wait(prefetch._next.coming.values())


@given(period=st.integers(1, 40), micro_batch=st.sampled_from([0, 1, 3, 5]))
@settings(deadline=None, max_examples=5)
def test_a_method_of_changing_draws_trains_to_the_same_bits(period, micro_batch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    one, other = (
        train(Moody(period), folder / str(prefetch), Engine(micro_batch=micro_batch, prefetch=prefetch), 999)
        for prefetch in (True, False)
    )
    assert all(one[key].equal(value) for key, value in other.items())


@given(batches=st.lists(st.lists(asked, max_size=4), min_size=2, max_size=5), of_update=st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_draw_gives_its_own_numbers_whatever_was_asked_before(batches, of_update):
    draws = [Draw(0, "s", 4 * place, 2, of=(4 * place, 4)) for place in range(len(batches))]
    with Prefetch(wanted=True) as prefetch:
        for place, (draw, names) in enumerate(zip(draws, batches, strict=True)):
            then = ("a", draws[place + 1]) if place + 1 < len(draws) else None
            ready = prefetch.ready("a", draw, then)
            settled(prefetch)
            for kind, name, sizes in names:
                from_one, from_other = (each.update if of_update else each for each in (ready, draw))
                ours, theirs = (getattr(each, kind)(name, *sizes) for each in (from_one, from_other))
                assert ours.equal(theirs)
                assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("micro_batch", [0, 3, 4])
def test_what_a_role_has_asked_for_once_the_thread_makes(micro_batch):
    """`a` is trained twice for each time of `b`; the toy asks for `x` and `u`, and here for `w` of the whole update."""
    threads, made, toy = [], [], Toy()

    def make(numbers):
        threads.append(threading.current_thread().name)
        made.append((numbers.stream, numbers.start, numbers.count))
        return numbers.made()

    engine, phase = Engine(micro_batch=micro_batch, prefetch=True), toy.phases()[1]
    optimisers = {name: Optimiser(role) for name, role in phase.roles.items()}
    with Prefetch(CPU, wanted=True, make=make) as prefetch:

        def strike(draw):
            draw.update.uniform("w")
            settled(prefetch)
            return 1.0

        toy.strike = strike
        step = Step(engine, toy.modules, 5, CPU, prefetch)
        for update in range(9):
            role, then = phase.role(update), phase.role(update + 1) if update < 8 else ""
            step(phase, role, optimisers[role], update * phase.batch, Signals(), then)
    # What a role asks for is known when its first micro-batch has begun, and that of the next begins with it.
    asked = []
    for update in range(9):
        for share in engine.shares(phase, 6 * update):
            whole = ("train/two/w", 6 * update, 6)
            asked.append([("train/two/x", *share), ("train/two/u", *share), whole])
    parts = len(asked) // 9
    unknown = {0, 1, *range(2 * parts, 3 * parts)}
    assert made == [each for place, some in enumerate(asked) if place not in unknown for each in some]
    assert set(threads) == {"prefetch_0"}


def test_what_the_thread_has_not_begun_is_not_waited_for():
    gate, opened = threading.Event(), []

    def make(numbers):
        opened.append(gate.wait(10))
        return numbers.made()

    draws = [Draw(0, "s", place, 1) for place in range(3)]
    with Prefetch(CPU, wanted=True, make=make) as prefetch:
        first = prefetch.ready("a", draws[0], None)
        for name in "xy":
            first.normal(name, 2)
        prefetch.ready("a", draws[1], ("a", draws[2]))
        last = prefetch.ready("a", draws[2], None)
        assert last.normal("y", 2).equal(draws[2].normal("y", 2)), "the thread is still at x"
        gate.set()
        assert last.normal("x", 2).equal(draws[2].normal("x", 2))
    assert opened == [True], "y was never begun"


def test_what_the_thread_fails_at_is_made_on_the_spot():
    def make(numbers):
        raise MemoryError

    draws = [Draw(0, "s", place, 1) for place in range(3)]
    with Prefetch(CPU, wanted=True, make=make) as prefetch:
        for place, draw in enumerate(draws):
            ready = prefetch.ready("a", draw, ("a", draws[place + 1]) if place < 2 else None)
            settled(prefetch)
            assert ready.normal("x", 2).equal(draw.normal("x", 2))


def test_numbers_asked_twice_are_not_shared():
    draws = [Draw(0, "s", place, 1) for place in range(3)]
    with Prefetch(wanted=True) as prefetch:
        for place, draw in enumerate(draws):
            ready = prefetch.ready("a", draw, ("a", draws[place + 1]) if place < 2 else None)
            settled(prefetch)
            ready.normal("x", 2).zero_()
            assert ready.normal("x", 2).equal(draw.normal("x", 2))


@pytest.mark.parametrize("end", ["done", "error", "signal", "ctrl-c"])
def test_the_thread_is_there_while_training_and_never_longer(tmp_path, end):
    seen = []

    def strike(draw):
        seen.append(len(running()))
        if len(seen) == 12 and end == "error":
            raise ZeroDivisionError
        if len(seen) == 12 and end == "ctrl-c":
            raise KeyboardInterrupt
        if len(seen) == 12 and end == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    kinds = {"done": (), "error": ZeroDivisionError, "signal": Interrupted, "ctrl-c": KeyboardInterrupt}
    try:
        train(Toy(strike), tmp_path / "run", Engine(prefetch=True))
    except kinds[end]:
        pass
    assert len(seen) == (44 if end == "done" else 12)
    assert max(seen) == 1
    assert running() == []


def test_without_the_word_there_is_no_thread(tmp_path):
    seen = []
    train(Toy(lambda draw: seen.append(len(running())) or 1.0), tmp_path / "run", Engine(prefetch=False))
    assert set(seen) == {0}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory is pinned for a GPU")
def test_a_gpu_gets_the_same_numbers():
    draws = [Draw(0, "s", 64 * place, 64, "cuda") for place in range(4)]
    with Prefetch(torch.device("cuda"), wanted=True) as prefetch:
        for place, draw in enumerate(draws):
            ready = prefetch.ready("a", draw, ("a", draws[place + 1]) if place < 3 else None)
            settled(prefetch)
            assert ready.normal("x", 99).equal(draw.normal("x", 99))
