"""The chains are what they claim: normalised, sampled faithfully, with the marginals of their joint."""

import pytest
import torch
from ardistill_exact.chain import Chain, dense_chain, sparse_chain
from ardistill_exact.metrics import sequence_index, total_variation

from ardistill.noise import Draw

SPARSE = sparse_chain(seed=0, n_tokens=4, n_classes=2, sharpness=2.0)
DENSE = dense_chain(side=12, n_tokens=4, spread=0.25, turn_degrees=60.0)
SMALL_DENSE = dense_chain(side=4, n_tokens=4, spread=0.25, turn_degrees=60.0)


def draw_tokens(chain: Chain, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = Draw(seed, "tests/exact", 0, count)
    labels_B = torch.arange(count) % chain.n_classes
    return labels_B, chain.sample(labels_B, draw.uniform("token", chain.n_tokens))


@pytest.mark.parametrize("chain", [SPARSE, SMALL_DENSE], ids=["sparse", "dense"])
def test_joint_sums_to_one(chain):
    torch.testing.assert_close(
        chain.log_joint().exp().sum(1), torch.ones(chain.n_classes, dtype=torch.float64)
    )


@pytest.mark.parametrize("chain", [SPARSE, DENSE], ids=["sparse", "dense"])
def test_tables_are_normalised(chain):
    for table in chain.tables:
        torch.testing.assert_close(table.exp().sum(-1), torch.ones(table.shape[:2], dtype=torch.float64))


@pytest.mark.parametrize("chain", [SPARSE, SMALL_DENSE], ids=["sparse", "dense"])
def test_joint_is_the_product_of_the_conditionals(chain):
    labels_B, tokens_BL = draw_tokens(chain, 50)
    joint_B = chain.log_joint()[labels_B, sequence_index(tokens_BL, chain.n_codes)]
    torch.testing.assert_close(-chain.nll(labels_B, tokens_BL).double(), joint_B, rtol=0, atol=1e-4)


@pytest.mark.parametrize("chain", [SPARSE, SMALL_DENSE], ids=["sparse", "dense"])
def test_marginals_are_the_joints(chain):
    joint = chain.log_joint().exp().reshape(chain.n_classes, *(chain.n_codes,) * chain.n_tokens)
    for i in range(chain.n_tokens):
        others = [axis + 1 for axis in range(chain.n_tokens) if axis != i]
        torch.testing.assert_close(chain.marginals()[:, i], joint.sum(others))


def test_samples_reach_the_sampling_floor():
    """TV of n samples concentrates around sum_s sqrt(2 p (1-p) / (pi n)) / 2."""
    labels_B, tokens_BL = draw_tokens(SPARSE, 40_000)
    joint_YS = SPARSE.log_joint()
    p_YS = joint_YS.exp()
    floor = float((0.5 * (2 * p_YS * (1 - p_YS) / (torch.pi * 20_000)).sqrt()).sum(1).mean())
    assert total_variation(tokens_BL, labels_B, joint_YS, SPARSE.n_codes) < 1.1 * floor < 0.06


def test_independent_tokens_are_far_away():
    draw = Draw(0, "tests/independent", 0, 40_000)
    labels_B = torch.arange(40_000) % 2
    tokens_BL = SPARSE.sample_independent(labels_B, draw.uniform("token", 4))
    assert total_variation(tokens_BL, labels_B, SPARSE.log_joint(), SPARSE.n_codes) > 0.6


def test_dense_tokens_follow_their_predecessors():
    labels_B, tokens_BL = draw_tokens(DENSE, 2_000)
    independent_BL = DENSE.sample_independent(labels_B, Draw(1, "tests", 0, 2_000).uniform("token", 4))
    assert DENSE.nll(labels_B, tokens_BL).mean() < 15 < 30 < DENSE.nll(labels_B, independent_BL).mean()


def test_dense_codes_have_unit_variance():
    torch.testing.assert_close(DENSE.codes_VC.std(0, correction=0), torch.ones(2))


def test_a_joint_too_large_is_refused():
    with pytest.raises(ValueError, match="too large"):
        DENSE.log_joint()


def test_tables_derive_from_the_seed():
    same, other = (sparse_chain(seed, 4, 2, 2.0) for seed in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(SPARSE.tables, same.tables, strict=True))
    assert not torch.equal(SPARSE.tables[0], other.tables[0])
