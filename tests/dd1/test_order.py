"""Which pair a training image learns from."""

import torch
from ardistill_dd1.order import Epochs
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 2**63 - 1))
def test_an_epoch_takes_every_pair_once(n: int, epoch: int, seed: int) -> None:
    order = Epochs(n, seed).pairs(torch.arange(epoch * n, (epoch + 1) * n))
    assert sorted(order.tolist()) == list(range(n))
    if epoch == 0:
        assert order.tolist() == list(range(n))


@given(st.integers(2, 40), st.integers(0, 1000), st.integers(1, 30), st.integers(1, 9))
def test_a_batch_tells_nothing_but_its_images(n: int, start: int, count: int, parts: int) -> None:
    images = torch.arange(start, start + count)
    whole = Epochs(n, 3).pairs(images)
    resumed = Epochs(n, 3)
    assert torch.equal(torch.cat([resumed.pairs(part) for part in images.tensor_split(parts)]), whole)


def test_epochs_and_seeds_differ() -> None:
    second, third = (Epochs(500, 0).pairs(torch.arange(500) + 500 * epoch) for epoch in (1, 2))
    other = Epochs(500, 1).pairs(torch.arange(500) + 500)
    assert not torch.equal(second, third)
    assert not torch.equal(second, other)
