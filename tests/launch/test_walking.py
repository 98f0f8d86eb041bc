"""Walks from noise to noise, and the teacher as a function of the student's noise."""

import pytest
import torch
from ardistill_exact.config import SparseConfig
from ardistill_exact.teacher import sparse_teacher

from ardistill.baselines import Frequencies, count
from ardistill.launch.candidates import SAME_NOISE, of_student, paired
from ardistill.launch.walking import great_circle, walks
from ardistill.noise import Draw
from ardistill.plugins import discover
from ardistill.protocols import Condition
from ardistill.schedules import baseline
from tests.evaluation.fakes import Silence

TEACHER = sparse_teacher(SparseConfig(n_tokens=3), lambda name: None)
WIDTH = TEACHER.tokenizer.codebook.shape[1]


def onestep():
    student = Frequencies("onestep*", TEACHER)
    count([student], TEACHER, 200, 0, "t", Silence())
    return of_student("x", student.schedules["onestep*"], student, TEACHER)


def test_every_point_of_a_walk_is_standard_normal():
    begin, end = Draw(0, "t", 0, 2).normal("x", 400, 50)
    path = great_circle(begin, end, 7)
    torch.testing.assert_close(path[0], begin)
    torch.testing.assert_close(path[-1], end, rtol=0, atol=1e-5)
    assert path.std((1, 2)).tolist() == pytest.approx([1.0] * 7, abs=0.02)
    step = (path[1:] - path[:-1]).flatten(1).norm(dim=1)
    assert step.tolist() == pytest.approx([step[0].item()] * 6, rel=0.02)


def test_student_and_teacher_walk_side_by_side():
    pair = paired(TEACHER, discover())
    found = walks([onestep()], pair, TEACHER, seed=0)
    assert [each.name for each in found] == ["onestep*", SAME_NOISE] * 2
    assert [each.note for each in found] == ["class 0"] * 2 + ["class 1"] * 2
    begin, end = Draw(0, "eval/walk", 0, 2).normal("noise", 3, WIDTH)
    ends = TEACHER.tokenizer.decode(onestep().from_noise(torch.stack([begin, end]), torch.tensor([0, 0])))
    torch.testing.assert_close(found[0].images_NCHW[[0, -1]], ends)


def test_the_pair_is_the_teacher_and_a_function_of_the_noise():
    pair, labels = paired(TEACHER, discover()), torch.arange(4000) % 2
    draw = Draw(0, "t", 0, 4000)
    latents = pair.generate(labels, draw)
    noise = draw.normal("noise", 3, WIDTH)
    torch.testing.assert_close(pair.from_noise(noise, labels), latents)
    tokens = TEACHER.tokens(latents)
    torch.testing.assert_close(TEACHER.tokenizer.codebook[tokens], latents)
    first = torch.bincount(tokens[labels == 0, 0], minlength=8) / 2000
    told = TEACHER.start(Condition(torch.tensor([0]))).log_probs()[0, 0].exp()
    assert 0.5 * (first - told).abs().sum() < 0.05


def test_a_student_whose_teacher_redraws_walks_nowhere():
    student = Frequencies("skip-1", TEACHER)
    candidate = of_student("x", baseline("skip-1", TEACHER.layout.n_steps), student, TEACHER)
    assert candidate.from_noise is None
    assert walks([candidate], None, TEACHER, 0) == ()
