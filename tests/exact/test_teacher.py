"""The exact teachers keep the protocols: cursor, one-pass log-probabilities, trunks, tokenizer."""

import pytest
import torch
from ardistill_exact.config import DenseConfig, SparseConfig, TrunkConfig
from ardistill_exact.teacher import ExactTeacher, dense_teacher, sparse_teacher
from ardistill_exact.tokenizer import LatentTokenizer

from ardistill.errors import DataError
from ardistill.flow import ode_map
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, Jumps, Tokenizer
from ardistill.sampling import teacher_tokens

TRUNK = TrunkConfig(width=16, depth=2, heads=2, fit_updates=30)


def no_weights(name):
    raise AssertionError(f"nobody needs {name}")


@pytest.fixture(scope="module", params=["sparse", "dense"])
def teacher(request) -> ExactTeacher:
    if request.param == "sparse":
        return sparse_teacher(SparseConfig(trunk=TRUNK), no_weights)
    return dense_teacher(DenseConfig(trunk=TRUNK), no_weights)


def batch(teacher: ExactTeacher, count: int = 64) -> tuple[Condition, torch.Tensor]:
    draw = Draw(0, "tests/exact", 0, count)
    condition = Condition(draw.integers("label", teacher.n_classes))
    return condition, teacher_tokens(teacher, condition, draw.uniform("token", teacher.layout.n_tokens))


def test_protocols_hold(teacher):
    assert isinstance(teacher, ARTeacher)
    assert isinstance(teacher.tokenizer, Tokenizer)


def test_cursor_agrees_with_log_probs(teacher):
    condition, tokens_BL = batch(teacher)
    log_p_BLV = teacher.log_probs(condition, teacher.tokenizer.codebook[tokens_BL])
    torch.testing.assert_close(log_p_BLV.exp().sum(-1), torch.ones(tokens_BL.shape))
    cursor = teacher.start(condition)
    for step in range(teacher.layout.n_steps):
        assert cursor.step == step
        torch.testing.assert_close(cursor.log_probs()[:, 0], log_p_BLV[:, step])
        cursor.accept(tokens_BL[:, step : step + 1])
    with pytest.raises(ValueError, match="every step"):
        cursor.accept(tokens_BL[:, :1])


def test_cursor_resumes_after_a_prefix(teacher):
    condition, tokens_BL = batch(teacher)
    log_p_BLV = teacher.log_probs(condition, teacher.tokenizer.codebook[tokens_BL])
    cursor = teacher.start(condition, tokens_BL[:, :2])
    assert cursor.step == 2
    torch.testing.assert_close(cursor.log_probs()[:, 0], log_p_BLV[:, 2])


def test_log_probs_read_the_nearest_codes(teacher):
    condition, tokens_BL = batch(teacher)
    codes_BLC = teacher.tokenizer.codebook[tokens_BL]
    nudged_BLC = codes_BLC + 0.01 * Draw(0, "nudge", 0, len(tokens_BL)).normal("x", *codes_BLC.shape[1:])
    expected_BLV = teacher.log_probs(condition, codes_BLC)
    assert torch.equal(teacher.log_probs(condition, nudged_BLC), expected_BLV)


def test_ode_map_has_the_teachers_marginal(teacher):
    """Noise carried along the flow falls on each code as often as the first conditional says (chi-square)."""
    count = 40_000
    condition = Condition(torch.zeros(count, dtype=torch.int64))
    codes_VC = teacher.tokenizer.codebook
    log_p_BV = teacher.start(condition).log_probs()[:, 0]
    noise_BC = Draw(0, "tests/ode", 0, count).normal("noise", codes_VC.shape[1])
    tokens_B = ode_map(noise_BC, log_p_BV, codes_VC)
    expected_V = count * log_p_BV[0].exp()
    found_V = torch.bincount(tokens_B, minlength=len(codes_VC))
    often_V = expected_V >= 5
    chi2 = float(((found_V - expected_V).square() / expected_V)[often_V].sum())
    freedom = int(often_V.sum())
    assert chi2 < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize(("alignment", "seen"), [("prefix", 1), ("own", 0)])
def test_networks_see_what_their_alignment_allows(teacher, alignment, seen):
    """A nudge at position i moves what is made of i + `seen` and later, and nothing earlier."""
    if alignment == "prefix":
        trunk = teacher.trunk()
    else:
        jumper = teacher.jumper(Jumps(), seed=0)
        trunk = lambda latents, condition: jumper(latents, condition).logits_BLV  # noqa: E731
    condition, tokens_BL = batch(teacher, 4)
    latents_BLC = teacher.tokenizer.codebook[tokens_BL]
    before_BLD = trunk(latents_BLC, condition)
    assert before_BLD.shape[:2] == (4, teacher.layout.n_tokens)
    for i in range(teacher.layout.n_tokens):
        nudged_BLC = latents_BLC.clone()
        nudged_BLC[:, i] += 0.5
        moved_L = (trunk(nudged_BLC, condition) - before_BLD).abs().amax((0, 2))
        assert torch.all(moved_L[: i + seen] < 1e-6)
        assert torch.all(moved_L[i + seen :] > 1e-4)


def test_trunks_are_independent_copies(teacher):
    first, second = teacher.trunk(), teacher.trunk()
    with torch.no_grad():
        first.position_LD.add_(1)
    assert not torch.equal(first.position_LD, second.position_LD)
    torch.testing.assert_close(teacher.jumper(Jumps(), seed=0).position_LD, second.position_LD)


def test_trunk_is_the_same_in_every_process_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    one = sparse_teacher(SparseConfig(trunk=TRUNK), no_weights).trunk()
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(6)
    two = sparse_teacher(SparseConfig(trunk=TRUNK), no_weights).trunk()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_tokenizer_round_trip(teacher):
    _, tokens_BL = batch(teacher)
    tokenizer = teacher.tokenizer
    images_BCHW = tokenizer.decode(tokenizer.codebook[tokens_BL])
    assert images_BCHW.shape == (len(tokens_BL), *tokenizer.image_shape)
    assert images_BCHW.abs().max() <= 1
    assert torch.equal(tokenizer.encode(images_BCHW), tokens_BL)


def test_codes_too_wide_for_a_pixel_are_refused():
    with pytest.raises(DataError, match="4 coordinates"):
        LatentTokenizer(torch.zeros(2, 4), 3)
