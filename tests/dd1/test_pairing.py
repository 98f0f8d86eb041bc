"""Noise becomes tokens: distributed as the teacher's, and a function of the noise alone."""

import pytest
import torch
from ardistill_dd1.config import FlowSettings
from ardistill_dd1.pairing import flow_matching
from ardistill_exact.config import SparseConfig
from ardistill_exact.teacher import sparse_teacher
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill import flow, posteriors
from ardistill.noise import Draw
from ardistill.protocols import Condition
from ardistill.testing.toy import toy_teacher
from ardistill.trajectories import Origin

CODES = 8


def paired(teacher, count, label=None, seed=0, start=0):
    draw = Draw(seed, "tests/pairing", start, count)
    labels_B = draw.integers("label", teacher.n_classes) if label is None else torch.full((count,), label)
    noise_BLC = draw.normal("noise", teacher.layout.n_tokens, 3)
    condition = Condition(labels_B)
    return flow_matching(FlowSettings(), teacher, condition, noise_BLC, draw), condition, noise_BLC


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.5, 2.0, 4.0]), st.integers(0, 1))
def test_the_joint_distribution_is_the_teachers(seed: int, sharpness: float, label: int) -> None:
    """Chi-square over all sequences of two tokens, which the chain knows exactly."""
    teacher = sparse_teacher(SparseConfig(seed=seed, n_tokens=2, sharpness=sharpness), lambda _: None)
    count = 20_000
    tokens_BL, _, _ = paired(teacher, count, label, seed)
    expected_S = count * teacher.chain.log_joint()[label].exp()
    found_S = torch.bincount(tokens_BL[:, 0] * CODES + tokens_BL[:, 1], minlength=CODES**2)
    often_S = expected_S >= 5
    chi2 = float(((found_S - expected_S).square() / expected_S)[often_S].sum())
    freedom = int(often_S.sum())
    assert chi2 < freedom + 6 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_a_pair_is_its_own_noises(batch: int) -> None:
    teacher = sparse_teacher(SparseConfig(), lambda _: None)
    whole_BL, _, _ = paired(teacher, 100)
    parts = [paired(teacher, min(batch, 100 - start), start=start)[0] for start in range(0, 100, batch)]
    assert torch.equal(torch.cat(parts), whole_BL)


def test_later_noise_changes_no_earlier_token() -> None:
    teacher = sparse_teacher(SparseConfig(), lambda _: None)
    tokens_BL, condition, noise_BLC = paired(teacher, 200)
    draw = Draw(0, "unused", 0, 200)
    for place in range(teacher.layout.n_tokens):
        other_BLC = noise_BLC.clone()
        other_BLC[:, place] = -other_BLC[:, place]
        other_BL = flow_matching(FlowSettings(), teacher, condition, other_BLC, draw)
        assert torch.equal(other_BL[:, :place], tokens_BL[:, :place])
        assert (other_BL[:, place] != tokens_BL[:, place]).float().mean() > 0.3


def test_the_scale_of_the_codes_does_not_matter() -> None:
    """A codebook ten times as large is the same tokens' (G13 of the gaps: the flow's time absorbs it)."""
    teacher = sparse_teacher(SparseConfig(), lambda _: None)
    before_BL, condition, noise_BLC = paired(teacher, 500)
    teacher.tokenizer.codebook = teacher.tokenizer.codebook * 10
    after_BL = flow_matching(FlowSettings(), teacher, condition, noise_BLC, Draw(0, "unused", 0, 500))
    assert (before_BL == after_BL).float().mean() > 0.999


@pytest.mark.parametrize(("top_k", "few"), [(0, 0), (3, 60)])
def test_where_a_teacher_filters_rows_are_solved_over_what_is_left(top_k: int, few: int, monkeypatch) -> None:
    """Of ten images of six tokens; and the tokens are the same."""
    teacher = toy_teacher(n_codes=24, top_k=top_k)
    plain_BL, _, _ = paired(teacher, 10)
    monkeypatch.setattr(posteriors, "_WORTH_PARTING", 1)
    solved = []

    def noted(codes, log_p_RV):
        solved.append(len(log_p_RV))
        return posteriors.Few(codes, log_p_RV)

    monkeypatch.setattr(flow, "Few", noted)
    restricted_BL, _, _ = paired(teacher, 10)
    assert sum(solved) == few
    assert torch.equal(restricted_BL, plain_BL)


def test_pairs_tell_how_they_were_solved_and_not_by_what() -> None:
    teacher = toy_teacher()
    plain, compiled, euler = (
        Origin.of(teacher, "flow-matching", words, seed=0)
        for words in (FlowSettings(), FlowSettings(compiled=True), FlowSettings(solver="euler"))
    )
    assert compiled == plain
    assert compiled.settings == {"solver": "multistep", "evaluations": 20}
    assert euler != plain
