"""The tables behind the baselines, on teachers whose joint distribution is known."""

import pytest
import torch
from ardistill_exact.config import SparseConfig
from ardistill_exact.teacher import sparse_teacher
from hypothesis import given
from hypothesis import strategies as st

from ardistill.baselines import Frequencies, check_samples, count
from ardistill.errors import ConfigError
from ardistill.noise import Draw
from ardistill.protocols import Condition, Jump, Redraw, Student
from ardistill.sampling import generate, schedule, teacher_tokens

TEACHER = sparse_teacher(SparseConfig(), lambda _: None)
K, L, V, Z = TEACHER.layout.n_steps, TEACHER.layout.n_tokens, len(TEACHER.tokenizer.codebook), 2
NAMES = ["onestep*", *(f"skip-{n}" for n in range(1, K))]


class Silence:
    def __init__(self):
        self.told = []

    def advance(self, done, total, what):
        self.told.append((done, total, what))


def counted(*names, n=1_000, seed=0):
    students = [Frequencies(name, TEACHER) for name in names]
    count(students, TEACHER, n, seed, "counts", Silence())
    return students


def tokens(student, draw, labels_B):
    name = next(iter(student.schedules))
    latents_BLC = generate(student.schedules[name], student, TEACHER, Condition(labels_B), draw)
    return TEACHER.tokens(latents_BLC)


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 6))
def test_onestep_draws_the_tables_frequencies_and_no_code_that_it_lacks(seed, cut):
    """Any table: of each position on its own, and of two positions together their product."""
    n = 4_000
    student = Frequencies("onestep*", TEACHER)
    logits_ZLV = Draw(seed, "table", 0, 1).normal("logits", Z, L, V)[0]
    lacking_ZL = logits_ZLV.argsort(-1)[..., :cut]
    student.log_p.copy_(logits_ZLV.scatter(-1, lacking_ZL, -torch.inf).log_softmax(-1))
    draw = Draw(seed, "tests", 0, n)
    for label in range(Z):
        drawn_BL = tokens(student, draw, torch.full((n,), label))
        one_hot_BLV = torch.nn.functional.one_hot(drawn_BL, V).double()
        p_LV = student.log_p[label].exp().double()
        torch.testing.assert_close(one_hot_BLV.mean(0), p_LV, atol=0.05, rtol=0)  # six deviations at most
        assert (one_hot_BLV.sum(0)[p_LV == 0] == 0).all()
        together_VV = one_hot_BLV[:, 0].T @ one_hot_BLV[:, 2] / n
        torch.testing.assert_close(together_VV, p_LV[0][:, None] * p_LV[2], atol=0.05, rtol=0)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, K - 1))
def test_skip_n_begins_with_the_teachers_own_tokens_and_ends_with_the_tables(seed, n):
    whole, student = counted("onestep*", f"skip-{n}")
    draw = Draw(seed, "tests", 0, 40)
    labels_B = draw.integers("label", Z)
    drawn_BL = tokens(student, draw, labels_B)
    own_BL = teacher_tokens(TEACHER, Condition(labels_B), draw.uniform("redraw", L))
    assert drawn_BL[:, : L - n].equal(own_BL[:, : L - n])
    # Of the same noise, onestep* makes the same last tokens: those depend on nothing before them.
    assert drawn_BL[:, L - n :].equal(tokens(whole, draw, labels_B)[:, L - n :])


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_depends_on_its_own_index_alone(name):
    (student,) = counted(name)
    labels_B = torch.arange(30) % Z
    together_BL = tokens(student, Draw(0, "t", 0, 30), labels_B)
    alone_BL = torch.cat([tokens(student, Draw(0, "t", i, 1), labels_B[i : i + 1]) for i in range(30)])
    assert together_BL.equal(alone_BL)


def test_tables_hold_the_frequencies_of_the_same_teacher_samples():
    n = 1_234
    draw = Draw(3, "counts", 0, n)
    labels_n = draw.indices() % Z
    tokens_nL = teacher_tokens(TEACHER, Condition(labels_n), draw.uniform("token", L))
    for student in counted("skip-1", "onestep*", "skip-3", n=n, seed=3):
        cut = {"skip-1": L - 1, "onestep*": 0, "skip-3": L - 3}[student.name]
        assert student.log_p.shape == (Z, L - cut, V)
        for label in range(Z):
            got_nl = tokens_nL[labels_n == label][:, cut:]
            want_lV = torch.nn.functional.one_hot(got_nl, V).float().mean(0)
            torch.testing.assert_close(student.log_p[label].exp(), want_lV)


def test_counting_tells_how_far_it_is_and_leaves_no_class_out():
    progress = Silence()
    count([Frequencies("skip-1", TEACHER)], TEACHER, 700, 0, "counts", progress)
    assert progress.told == [(500, 700, "teacher samples"), (700, 700, "teacher samples")]
    check_samples(Z, TEACHER, "method.samples")
    with pytest.raises(ConfigError, match=r"^method.samples=1 leaves some of the 2 classes without"):
        check_samples(1, TEACHER, "method.samples")


@pytest.mark.parametrize("name", NAMES)
def test_passes_are_the_teachers_alone(name):
    student = Frequencies(name, TEACHER)
    assert isinstance(student, Student)
    plan = student.schedules[name]
    assert plan.name == name
    assert plan.passes == (0 if name == "onestep*" else K - int(name[-1]))
    assert schedule(name, student, TEACHER.layout) == schedule("1", student, TEACHER.layout) == plan


def test_schedules():
    assert Frequencies("onestep*", TEACHER).schedules["onestep*"].moves == (Jump(0, passes=0),)
    assert Frequencies("skip-3", TEACHER).schedules["skip-3"].moves == (Redraw(0, 1), Jump(1, passes=0))


@pytest.mark.parametrize(
    ("name", "said"), [("skip-4", "more than 4 steps, and this one has 4"), ("skip-99", "99")]
)
def test_skipping_every_step_is_refused(name, said):
    with pytest.raises(ConfigError, match=said):
        Frequencies(name, TEACHER)


@pytest.mark.parametrize("name", ["onestep", "skip-0", "skip-", "skip-01", "skip--1", "skip-n", "", "skip-²"])
def test_what_is_no_baseline(name):
    with pytest.raises(ConfigError, match=r"is no baseline; expected onestep\* or skip-N"):
        Frequencies(name, TEACHER)


@pytest.mark.parametrize("steps", ["2", "pre-trained-1-2", "skip-1"])
def test_other_schedules_are_refused(steps):
    with pytest.raises(ConfigError, match="sampled by skip-2 only"):
        schedule(steps, Frequencies("skip-2", TEACHER), TEACHER.layout)


def test_a_table_starts_where_it_starts():
    with pytest.raises(ValueError, match="skip-1 starts from step 3, not from step 0"):
        Frequencies("skip-1", TEACHER).jump(torch.zeros(1, L, 3), Condition(torch.zeros(1, dtype=torch.long)))
