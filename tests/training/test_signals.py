"""Signals while training: noted, saved, left with a code of its own; a second Ctrl-C leaves at once."""

import os
import signal
import threading

import pytest

from ardistill.training.checkpoint import Checkpoints
from ardistill.training.faults import Interrupted
from ardistill.training.signals import Signals
from tests.training.toy import Toy, train

pytestmark = pytest.mark.filterwarnings("ignore:.*tensorboard.*")


@pytest.fixture(autouse=True)
def python_handles_ctrl_c():
    """Whoever started the tests in the background had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


def at(call, *numbers):
    """A toy whose losses send signals to their own process at their n-th call."""
    calls = iter(range(1, 10**6))

    def strike(draw):
        if next(calls) == call:
            for number in numbers:
                os.kill(os.getpid(), number)
        return 1.0

    return Toy(strike)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(Toy(), tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("number", ALL)
@pytest.mark.parametrize(("call", "images"), [(1, 8), (20, 160), (21, 166), (44, 304)])
def test_a_signal_in_any_step_saves_it_and_the_run_goes_on_to_the_same_bits(
    tmp_path, whole, number, call, images
):
    before = [signal.getsignal(each) for each in ALL]
    with pytest.raises(Interrupted, match=f"stopped by {number.name} at image {images}; go on") as caught:
        train(at(call, number), tmp_path / "run", every=10**6)
    assert caught.value.exit_code == 75
    assert [signal.getsignal(each) for each in ALL] == before
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest()[1].total_images == images
    resumed = train(Toy(), tmp_path / "run")
    assert all(resumed[key].equal(value) for key, value in whole.items())


def test_a_second_ctrl_c_leaves_at_once_and_nothing_new_is_saved(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(at(12, signal.SIGINT, signal.SIGINT), tmp_path / "run")
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest()[1].total_images == 64


class Counting(Checkpoints):
    """Counts its saves, and is met by a signal inside one."""

    saves = 0

    def save(self, position, modules, optimisers):
        self.saves += 1
        signal.raise_signal(signal.SIGTERM)  # to this thread, hence now
        super().save(position, modules, optimisers)


def test_a_signal_during_a_save_lets_it_finish_and_starts_no_other(tmp_path, monkeypatch):
    made = []

    def counting(folder):
        made.append(Counting(folder))
        return made[0]

    monkeypatch.setattr("tests.training.toy.Checkpoints", counting)
    with pytest.raises(Interrupted):
        train(Toy(), tmp_path / "run", every=30)
    assert made[0].saves == 1
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest()[1].total_images == 32


def test_signals_act_as_before_while_suspended_and_afterwards():
    with pytest.raises(KeyboardInterrupt), Signals() as signals, signals.suspended():
        os.kill(os.getpid(), signal.SIGINT)
    with Signals() as signals:
        with signals.suspended():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.caught == signal.SIGTERM


def test_beside_the_main_thread_no_handler_is_touched():
    before, inside = signal.getsignal(signal.SIGTERM), []

    def elsewhere():
        with Signals():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert inside == [before]
