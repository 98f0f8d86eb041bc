"""Linear layers on packed weights: the same numbers, and only where it was asked for."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ardistill.forwards import packed

WIDE = 600  # so that a square layer is worth packing


def network(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDE, WIDE, bias=bias), nn.ReLU(), nn.Linear(WIDE, 4))


def swapped(module):
    return [layer for layer in module.modules() if "forward" in vars(layer)]


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 40), bias=st.booleans(), seed=st.integers(0, 2**31))
def test_outputs_agree_to_rounding(rows, bias, seed):
    module = network(bias)
    x = torch.randn(2, rows, WIDE, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = module(x)
        with packed(module):
            assert swapped(module) == [module[0]], "the small layer runs as ever"
            found = module(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_ends_with_the_block_and_with_an_error():
    module = network()
    with pytest.raises(RuntimeError, match="enough"), packed(module), packed(module):
        raise RuntimeError("enough")
    assert not swapped(module)
    before = copy.deepcopy(module.state_dict())
    with packed(module):
        pass
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_weights_that_changed_between_two_blocks_are_seen():
    module, x = network(), torch.ones(1, WIDE)
    with torch.no_grad():
        with packed(module):
            first = module[0](x)
        module[0].weight.mul_(2)
        module[0].bias.mul_(2)
        with packed(module):
            torch.testing.assert_close(module[0](x), 2 * first)


def test_gradients_and_autocast_run_as_ever():
    module, x = network(), torch.randn(3, WIDE)
    expected = torch.autograd.grad(module(x).sum(), list(module.parameters()))
    with packed(module):
        found = torch.autograd.grad(module(x).sum(), list(module.parameters()))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert module(x).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "other",
    [
        nn.Linear(WIDE, WIDE, dtype=torch.bfloat16),
        nn.Linear(WIDE, WIDE, device="meta"),
        nn.Conv2d(3, 4, 3),
        3,
    ],
)
def test_what_can_not_be_packed_is_passed_over(other):
    with packed(other):
        assert not isinstance(other, nn.Module) or not swapped(other)
