"""The order of unmasking, and the tokenizer that makes it everybody's."""

from itertools import combinations, pairwise

import pytest
import torch
from ardistill_maskgit.order import spread_order, step_sizes
from ardistill_maskgit.ordered import OrderedTokenizer
from hypothesis import given
from hypothesis import strategies as st

from ardistill.errors import ConfigError
from ardistill.noise import Draw
from ardistill.testing import check_tokenizer


@given(side=st.integers(1, 12))
def test_an_order_goes_everywhere_once(side):
    assert sorted(spread_order(side)) == list(range(side * side))


@pytest.mark.parametrize("side", [2, 4, 8, 16])
def test_every_doubling_is_a_lattice(side):
    """Among the first 2^m places the nearest two are as far apart as so many can be on a square lattice."""
    places = [divmod(place, side) for place in spread_order(side)]
    for m in range(1, 2 * (side.bit_length() - 1) + 1):
        first = places[: 2**m]
        apart = min(
            sum(min((a - b) % side, (b - a) % side) ** 2 for a, b in zip(one, two, strict=True))
            for one, two in combinations(first, 2)
        )
        assert apart == side * side / 2**m


@given(data=st.data(), n_tokens=st.integers(1, 256))
def test_steps_share_all_tokens(data, n_tokens):
    n_steps = data.draw(st.integers(1, n_tokens))
    sizes = step_sizes(n_tokens, n_steps)
    assert (len(sizes), sum(sizes)) == (n_steps, n_tokens)
    assert min(sizes) >= 1
    assert sizes[0] <= max(sizes[-2:])


@pytest.mark.parametrize("n_steps", [1, 4, 5, 8, 16])
def test_steps_grow(n_steps):
    assert all(before <= after for before, after in pairwise(step_sizes(16, n_steps)))


@pytest.mark.parametrize("n_steps", [0, 17])
def test_impossible_steps_are_refused(n_steps):
    with pytest.raises(ValueError, match=f"in 1 to 16 steps, not in {n_steps}"):
        step_sizes(16, n_steps)


def test_the_wrapped_tokenizer_conforms(make_tokenizer):
    check_tokenizer(OrderedTokenizer(make_tokenizer(), spread_order(3)))


@given(order=st.permutations(range(9)), seed=st.integers(0, 99))
def test_only_the_order_is_another(make_tokenizer, order, seed):
    inner = make_tokenizer()
    ordered = OrderedTokenizer(inner, order)
    images = 2 * Draw(seed, "maskgit", 0, 2).uniform("image", *inner.image_shape) - 1
    tokens = ordered.encode(images)
    for n, place in enumerate(order):
        assert torch.equal(tokens[:, n], inner.encode(images)[:, place])
    codes = inner.codebook
    with torch.no_grad():
        assert torch.equal(ordered.decode(codes[tokens]), inner.decode(codes[inner.encode(images)]))
    assert torch.equal(ordered.codebook, codes)


@pytest.mark.parametrize("order", [(), range(8), (0, 0, 1, 2, 3, 4, 5, 6, 7)])
def test_an_order_of_other_tokens_is_refused(make_tokenizer, order):
    with pytest.raises(ConfigError, match="each of the tokenizer's tokens once"):
        OrderedTokenizer(make_tokenizer(), order)
