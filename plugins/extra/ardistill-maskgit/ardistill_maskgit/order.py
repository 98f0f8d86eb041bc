"""In which order the tokens of a square are unmasked, and how many at a time. No torch here.

MaskGIT unmasks what it is surest of, so which tokens a step emits depends on the sample, and there is no layout that
holds for all. An order fixed beforehand that spreads over the image serves as well or better (Besnier et al., 2025,
arXiv 2503.17076, who take a Halton sequence), and has one.
"""

import math
from itertools import pairwise


def spread_order(side: int) -> tuple[int, ...]:
    """The row-major places of a `side` x `side` grid in the order of dispersed dithering (Bayer, 1973).

    Of a side that is a power of two the first 2, 4, 8, 16, ... places are a lattice, each finer than the one before;
    they are the bits of n in reverse, as in a Halton sequence of base 2 both ways. Of another side the places of the
    next power of two are taken that lie within.
    """
    n_bits = (side - 1).bit_length()
    places = []
    for n in range(4**n_bits):
        row = column = 0
        for j in range(n_bits):
            down, across = n >> (2 * j) & 1, n >> (2 * j + 1) & 1
            row, column = 2 * row + down, 2 * column + (down ^ across)
        if row < side and column < side:
            places.append(row * side + column)
    return tuple(places)


def step_sizes(n_tokens: int, n_steps: int) -> tuple[int, ...]:
    """How many tokens each of `n_steps` unmasks: few at first, many later, at least one.

    After the share s of the steps cos(pi s / 2) of the tokens are still masked (MaskGIT, section 3.3). Raises
    ValueError for more steps than tokens.
    """
    if not 1 <= n_steps <= n_tokens:
        raise ValueError(f"{n_tokens} tokens are unmasked in 1 to {n_tokens} steps, not in {n_steps}")
    known = [round(n_tokens * (1 - math.cos(math.pi * step / n_steps / 2))) for step in range(n_steps + 1)]
    for step in range(1, n_steps + 1):
        known[step] = min(max(known[step], known[step - 1] + 1), n_tokens - (n_steps - step))
    return tuple(after - before for before, after in pairwise(known))
