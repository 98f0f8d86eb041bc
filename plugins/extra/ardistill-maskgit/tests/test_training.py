"""The recipe: its masks, and that what it writes is a teacher."""

import math

import pytest
import torch
from ardistill_digits.data import Digits
from ardistill_maskgit.loading import load_teacher
from ardistill_maskgit.masking import known_tokens
from ardistill_maskgit.order import step_sizes
from ardistill_maskgit.pretrain import masked_cross_entropy, pretrain
from ardistill_maskgit.recipe import MaskGITRecipe
from ardistill_maskgit.settings import MaskGITTeacherSettings
from hypothesis import given
from hypothesis import strategies as st

from ardistill.noise import Draw
from ardistill.protocols import Condition, StepLayout


class Silent:
    def advance(self, done, total, what): ...


@given(n_tokens=st.integers(1, 40), random=st.floats(0, 1), seed=st.integers(0, 999))
def test_something_is_always_left_to_predict(n_tokens, random, seed):
    layout = StepLayout(step_sizes(n_tokens, min(n_tokens, 5)))
    known = known_tokens(Draw(seed, "masks", 0, 16), layout, random)
    assert known.shape == (16, n_tokens)
    assert not known.all(1).any()


def test_masks_of_the_order_are_its_steps():
    layout = StepLayout((1, 2, 4, 4, 5))
    known = known_tokens(Draw(0, "masks", 0, 4000), layout, random=0.0)
    counts = known.sum(1)
    assert torch.equal(known, torch.arange(16) < counts[:, None])
    shares = torch.bincount(counts, minlength=16)[[0, 1, 3, 7, 11]] / 4000
    assert float(shares.sum()) == 1
    torch.testing.assert_close(shares, torch.tensor(layout.sizes) / 16, atol=0.02, rtol=0)


def test_masks_at_random_are_the_papers():
    """The mean of cos(pi r / 2) is 2 / pi, rounding up adds half a token; every place is masked as often."""
    known = known_tokens(Draw(0, "masks", 0, 4000), StepLayout((4, 12)), random=1.0)
    masked = (~known).float()
    assert float(masked.mean()) == pytest.approx(2 / math.pi + 0.5 / 16, abs=0.01)
    assert float((masked.mean(0) - masked.mean()).abs().max()) < 0.03


def test_known_tokens_cost_nothing_and_images_count_alike():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[0, 1, 2], [3, 4, 0]])
    known = torch.tensor([[True, True, False], [False, False, True]])
    nats = -logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    expected = (nats[0, 2] + nats[1, :2].mean()) / 2
    torch.testing.assert_close(masked_cross_entropy(logits, tokens, known), expected)


def test_the_recipe_makes_a_teacher_that_has_learned(tmp_path):
    """Two runs give the same file; what it holds tells held-out digits better than chance, log 128 = 4.85 nats."""
    words = {"copies": 1, "images": 12_800, "depth": 1, "width": 32, "steps": 3, "cfg": 0.5, "top_p": 0.95}
    for name in "ab":
        pretrain(MaskGITRecipe(**words), tmp_path / name, Silent())
    file = "maskgit-teacher.safetensors"
    assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    data = Digits()
    teacher = load_teacher(
        MaskGITTeacherSettings(checkpoint=tmp_path / "a" / file, cfg=0.0, top_p=0.0), data.weights
    )
    assert teacher.layout.n_steps == 3
    images, labels = data.images("test", Draw(0, "held out", 0, 200))
    tokens = teacher.tokenizer.encode(images)
    log_p = teacher.log_probs(Condition(labels), teacher.tokenizer.codebook[tokens])
    assert -float(log_p.gather(-1, tokens[..., None]).mean()) < 4.2
    told = load_teacher(MaskGITTeacherSettings(checkpoint=tmp_path / "a" / file), data.weights).guidance
    assert (told.scale, told.top_p) == (0.5, 0.95)
