"""A pair's noise is never stored, so it has to stay what it is."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ardistill.noise import Draw, normals
from tests.trajectories.making import collected

GOLDEN_SEED, GOLDEN_INDEX = 11, 123_456_789
GOLDEN_NOISE = [
    0.29248857498168945,
    -1.7632482051849365,
    -0.2973368763923645,
    0.6629645824432373,
    -0.3273555040359497,
    0.922774076461792,
]
GOLDEN_LABEL = 202
"""Of a thousand classes."""


def test_golden_values_pin_the_pairs_noise_and_labels():
    """A change here makes every folder of pairs that anybody has collected worthless, without a word."""
    expected = torch.tensor(GOLDEN_NOISE).view(1, 2, 3)
    noise = normals(GOLDEN_SEED, "pairs", "noise", [GOLDEN_INDEX], 2, 3)
    torch.testing.assert_close(noise, expected, rtol=0, atol=1e-7)
    draw = Draw(GOLDEN_SEED, "pairs", GOLDEN_INDEX, 1)
    torch.testing.assert_close(draw.normal("noise", 2, 3), expected, rtol=0, atol=1e-7)
    assert draw.integers("label", 1000).tolist() == [GOLDEN_LABEL]


def test_taken_pairs_have_the_noise_and_labels_of_their_draw(tmp_path):
    """So that the golden values above are those of what `take` gives."""
    taken = collected(tmp_path / "pairs", 20, seed=11).take(torch.arange(20))
    draw = Draw(11, "pairs", 0, 20)
    assert taken.noise_BLC.equal(draw.normal("noise", 4, 3))
    assert taken.condition.labels_B.equal(draw.integers("label", 2))


def test_many_normals_are_those_of_one_draw():
    """Threads fill them, a part each."""
    indices = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    assert normals(3, "s", "x", indices.tolist(), 7).equal(Draw(3, "s", 0, 150).normal("x", 7)[indices])


@given(
    seed=st.integers(0, 2**63 - 1),
    indices=st.lists(st.integers(0, 2**40), max_size=70),
    width=st.integers(1, 5),
)
def test_normals_of_any_indices_are_those_of_their_draws(seed, indices, width):
    found = normals(seed, "s", "x", indices, 2, width)
    assert found.shape == (len(indices), 2, width)
    for row, index in zip(found, indices, strict=True):
        assert row.equal(Draw(seed, "s", index, 1).normal("x", 2, width)[0])
