"""Hypothesis strategies for properties of one's own: small layouts, teachers, conditions, trajectories, draws.

    from hypothesis import given
    from ardistill.testing import strategies as small

    @given(small.teachers(), small.draws())
    def test_pairs(teacher, draw): ...

Shape legend: B batch, L tokens, C code width.
"""

import torch
from hypothesis import strategies as st
from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, StepLayout, Tokenizer, Trajectory
from ardistill.testing.toy import ToyTeacher, ToyTokenizer, toy_teacher

_SEEDS = st.integers(0, 1 << 16)


def layouts(max_steps: int = 4, max_size: int = 4) -> st.SearchStrategy[StepLayout]:
    """A few steps of a few tokens."""
    sizes = st.lists(st.integers(1, max_size), min_size=1, max_size=max_steps)
    return sizes.map(lambda sizes: StepLayout(tuple(sizes)))


def tokenizers(n_tokens: int = 6) -> st.SearchStrategy[ToyTokenizer]:
    """Toy tokenizers of 2 to 9 random codes of 1 to 4 numbers."""
    return st.builds(
        lambda seed, n_codes, width: ToyTokenizer(
            Draw(seed, "codes", 0, n_codes).normal("code", width), n_tokens
        ),
        _SEEDS,
        st.integers(2, 9),
        st.integers(1, 4),
    )


def teachers(of: st.SearchStrategy[StepLayout] | None = None) -> st.SearchStrategy[ToyTeacher]:
    """Toy teachers (`toy.toy_teacher`), filtered or not."""
    return st.builds(
        lambda layout, n_codes, width, n_classes, top_k, seed: toy_teacher(
            layout.sizes,
            n_codes=n_codes,
            code_width=width,
            n_classes=n_classes,
            top_k=min(top_k, n_codes),
            seed=seed,
        ),
        layouts() if of is None else of,
        st.integers(2, 8),
        st.integers(1, 4),
        st.integers(1, 4),
        st.sampled_from([0, 0, 2, 3]),
        _SEEDS,
    )


def draws(max_batch: int = 4, device: torch.device | str = "cpu") -> st.SearchStrategy[Draw]:
    """The randomness of 1 to `max_batch` images, from anywhere in a stream."""
    return st.builds(
        Draw,
        seed=_SEEDS,
        stream=st.just("testing"),
        start=st.integers(0, 100),
        count=st.integers(1, max_batch),
        device=st.just(device),
    )


def conditions(n_classes: int, batch: int) -> st.SearchStrategy[Condition]:
    """Class labels of a batch."""
    labels = st.lists(st.integers(0, n_classes - 1), min_size=batch, max_size=batch)
    return labels.map(lambda labels: Condition(torch.tensor(labels, dtype=torch.int64)))


def tokens(teacher: ARTeacher, batch: int) -> st.SearchStrategy[Tensor]:
    """(B, L) int64, all alike probable."""
    n_codes, n_tokens = len(teacher.tokenizer.codebook), teacher.layout.n_tokens
    return _SEEDS.map(lambda seed: Draw(seed, "tokens", 0, batch).integers("token", n_codes, n_tokens))


def latents(tokenizer: Tokenizer, batch: int) -> st.SearchStrategy[Tensor]:
    """(B, L, C) standard normal."""
    shape = tokenizer.n_tokens, tokenizer.codebook.shape[1]
    return _SEEDS.map(lambda seed: Draw(seed, "latents", 0, batch).normal("latent", *shape))


def trajectories(teacher: ARTeacher, batch: int = 3) -> st.SearchStrategy[Trajectory]:
    """Noise and tokens of no relation, in the form of those that belong together."""
    return st.builds(
        Trajectory,
        condition=conditions(teacher.n_classes, batch),
        noise_BLC=latents(teacher.tokenizer, batch),
        tokens_BL=tokens(teacher, batch),
        layout=st.just(teacher.layout),
    )
