import time

import pytest
import torch

from ardistill.evaluation.speed import measure

CPU = torch.device("cpu")


def test_seconds_per_image():
    speeds = measure({"slow": lambda: time.sleep(0.04), "fast": lambda: time.sleep(0.01)}, 4, CPU, repeats=3)
    slow, fast = speeds["slow"], speeds["fast"]
    assert 0.01 <= slow.fastest < 0.03
    assert slow.fastest <= slow.seconds <= slow.slowest
    assert 0.0025 <= fast.fastest < slow.fastest
    assert (slow.batch, slow.repeats) == (4, 3)


def test_candidates_take_turns_and_the_warm_up_is_not_counted():
    calls = []

    def first():
        time.sleep(0.05 if not calls else 0.0)
        calls.append("first")

    speeds = measure({"first": first, "second": lambda: calls.append("second")}, 1, CPU, warmup=1, repeats=2)
    assert calls == ["first", "second"] * 3
    assert speeds["first"].slowest < 0.05


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"repeats": 0}, {"warmup": -1}])
def test_nothing_to_time(wrong):
    with pytest.raises(ValueError, match="cannot time"):
        measure({}, **({"batch": 1, "device": CPU} | wrong))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_waits_for_the_device():
    device = torch.device("cuda")
    matrix = torch.randn(4096, 4096, device=device)

    def work():
        product = matrix
        for _ in range(20):
            product = product @ matrix

    speeds = measure({"work": work, "nothing": lambda: None}, 1, device)
    assert speeds["work"].seconds > 20 * 2 * 4096**3 / 2e15, "faster than any device is"
    assert speeds["work"].seconds > 20 * speeds["nothing"].seconds
