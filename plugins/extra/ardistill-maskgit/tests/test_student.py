"""DD1's student of MaskGIT."""

import pytest
import torch
from ardistill_maskgit.loading import rebuild
from ardistill_maskgit.settings import MaskGITDD1Record
from hypothesis import given
from hypothesis import strategies as st

from ardistill.errors import ConfigError, PluginError
from ardistill.noise import Draw
from ardistill.protocols import Condition, Jump, Jumper, Redraw
from ardistill.sampling import generate, schedule
from ardistill.schedules import Jumps
from ardistill.testing import check_student, toy_teacher
from ardistill.testing.looking import stir

L, CODE_WIDTH, STEPS = 9, 4, 4


def classes():
    return Condition(torch.tensor([0, 4, 2]))


def noise(seed=0):
    return Draw(seed, "student", 0, 3).normal("noise", L, CODE_WIDTH)


def small_student(teacher, **jumps):
    made = teacher.jumper(Jumps(**jumps), seed=1)
    stir(made)
    return made.eval()


@pytest.fixture(scope="module")
def student(make_teacher):
    return small_student(make_teacher(), starts=(0, 2), split=3)


def test_the_student_conforms(make_teacher, student):
    assert isinstance(student, Jumper)
    check_student(student, make_teacher(), rebuild=rebuild)


@given(start=st.integers(0, STEPS), seed=st.integers(0, 99))
def test_the_prefix_is_kept(student, start, seed):
    latents, cut = noise(seed), student.layout.offset(start)
    made = student.jump(latents, classes(), start)
    assert torch.equal(made.latents_BLC[:, :cut], latents[:, :cut])
    assert not torch.isclose(made.latents_BLC[:, cut:], latents[:, cut:]).all(-1).any()
    assert made.logits_BLV.isfinite().all()


@given(place=st.integers(0, L - 1), start=st.integers(0, STEPS))
def test_a_token_hangs_on_itself_and_on_earlier_steps(student, place, start):
    latents = noise()
    other = latents.clone()
    other[:, place] += 1
    with torch.no_grad():
        one, two = (student(x, classes(), start) for x in (latents, other))
    steps = student.layout.step_of_token()
    moves = steps > steps[place]
    moves[place] = True
    for before, after in ((one.latents_BLC, two.latents_BLC), (one.logits_BLV, two.logits_BLV)):
        moved = (after - before).abs().amax((0, 2))
        assert torch.all(moved[~moves] == 0)
        assert torch.all(moved[moves] > 1e-5)


def test_the_start_is_heard(student):
    with torch.no_grad():
        one, two = (student(noise(), classes(), start).logits_BLV for start in (1, 2))
    cut = student.layout.offset(1)
    torch.testing.assert_close(one[:, :cut], two[:, :cut])
    assert not torch.isclose(one[:, cut:], two[:, cut:]).all(-1).any()


def test_it_begins_as_its_teacher_and_shares_nothing(make_teacher):
    teacher = make_teacher()
    ours, theirs = teacher.jumper(Jumps(), seed=3).state_dict(), teacher.model.state_dict()
    fresh = {key.partition(".")[0] for key in ours if key not in theirs}
    assert fresh == {"noise_or_data", "to_latent"}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if key in theirs)
    assert not {t.data_ptr() for t in ours.values()} & {t.data_ptr() for t in theirs.values()}
    again, other = (teacher.jumper(Jumps(), seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(ours[key], again[key]) for key in ours)
    assert not torch.equal(ours["to_latent.weight"], other["to_latent.weight"])


def test_schedules(make_teacher, student):
    teacher = make_teacher()
    plans = {words: schedule(words, student, teacher.layout) for words in ("1", "2", "pre-trained-2-3")}
    assert plans["2"].moves == (Jump(0, 3), Jump(2, 3))
    assert plans["pre-trained-2-3"].moves == (Jump(0, 3), Redraw(1, 2), Jump(2, 3))
    for plan in plans.values():
        latents = generate(plan, student, teacher, classes(), Draw(0, "s", 0, 3))
        snapped = torch.cdist(latents, teacher.tokenizer.codebook).amin(-1) < 1e-4
        cut = teacher.layout.offset(3)
        assert snapped[:, :cut].all()
        assert not snapped[:, cut:].any()


@pytest.mark.parametrize("jumps", [{"starts": (0, STEPS)}, {"split": STEPS + 1}])
def test_jumps_beyond_the_steps_are_refused(make_teacher, jumps):
    with pytest.raises(ConfigError, match=f"beyond this student's {STEPS} steps"):
        make_teacher().jumper(Jumps(**jumps), seed=0)


def test_another_teacher_is_refused(make_teacher, student):
    settings = student.spec.settings
    with pytest.raises(PluginError, match="give teacher=maskgit"):
        rebuild(settings, toy_teacher())
    with pytest.raises(ConfigError, match=r"steps of tokens: \(1, 2, 3, 3\), and the teacher has"):
        rebuild(settings, make_teacher(5))
    assert student.record == MaskGITDD1Record(
        network=student.config, sizes=(1, 2, 3, 3), starts=(0, 2), split=3
    )
