"""What a teacher promises of its distribution (`protocols.ARTeacher`), and that nobody changes it.

Shape legend: B batch, L tokens, V codes, N any leading shape.
"""

import json

import torch
from torch import Tensor

from ardistill.protocols import ARTeacher, Guidance, StepLayout
from ardistill.sampling import teacher_tokens
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect, expect_members
from ardistill.testing.looking import expect_tensor, variation
from ardistill.testing.subjects import TeacherSubject

SAME = 1e-3
"""Total variation between distributions that rounding alone may make."""
_SUM = 1e-4
_BF16 = 0.5


def it_has_what_the_protocol_demands(subject: TeacherSubject, case: Case) -> None:
    """A teacher has every name of protocols.ARTeacher, and its layout has as many tokens as its tokenizer."""
    del case
    teacher = subject.teacher
    expect_members(teacher, ARTeacher)
    layout: object = teacher.layout
    expect(isinstance(layout, StepLayout), f"layout is {type(layout).__name__}, not a StepLayout")
    expect(isinstance(teacher.guidance, Guidance), f"guidance is {type(teacher.guidance).__name__}")
    ours, theirs = teacher.layout.n_tokens, teacher.tokenizer.n_tokens
    expect(ours == theirs, f"a layout of {ours} tokens and a tokenizer of {theirs}")
    n_classes: object = teacher.n_classes
    expect(type(n_classes) is int and n_classes >= 0, f"n_classes is {n_classes!r}")
    said = "n_classes is 0, so that only captions fit; give check_teacher(..., condition=) an example of some"
    expect(bool(n_classes) or subject.example is not None, said)


def constants_are_told_in_json(subject: TeacherSubject, case: Case) -> None:
    """The constants are a mapping that JSON gives back as it was, the same whenever it is asked for."""
    del case
    told = dict(subject.teacher.constants)
    try:
        read = json.loads(json.dumps(told))
    except (TypeError, ValueError) as error:
        expect(holds=False, found=f"constants that JSON can't hold ({error})")
    expect(read == told, f"constants that JSON changes: {told} to {read}")
    expect(dict(subject.teacher.constants) == told, "other constants the second time")


def log_probs_are_distributions(subject: TeacherSubject, case: Case) -> None:
    """log_probs() is (B, L, V) float32, each row normalised, -inf where filtered, never nan."""
    log_p_BLV = subject.log_probs(case, subject.tokens(case))
    n_codes = len(subject.teacher.tokenizer.codebook)
    shape = (case.batch, subject.teacher.layout.n_tokens, n_codes)
    expect_tensor(log_p_BLV, shape, torch.float32, subject.device, "log_probs(condition, latents)")
    expect_distributions(log_p_BLV, "log_probs(condition, latents)")


def expect_distributions(log_p_NV: Tensor, what: str) -> None:
    """Whether rows of log-probabilities are normalised."""
    expect(not log_p_NV.isnan().any(), f"nan in {what}")
    sums_N = log_p_NV.double().exp().sum(-1)
    worst = float(sums_N.flatten()[(sums_N - 1).abs().argmax()])
    expect(abs(worst - 1) <= _SUM, f"probabilities of {what} that sum to {worst:.6g}")


def top_k_leaves_k_codes(subject: TeacherSubject, case: Case) -> None:
    """Where guidance.top_k is set, no more codes than that are left, but for ties with the last one."""
    k = subject.teacher.guidance.top_k
    log_p_BLV = subject.log_probs(case, subject.tokens(case))
    least_BL1 = log_p_BLV.masked_fill(log_p_BLV == -torch.inf, torch.inf).amin(-1, keepdim=True)
    above = int((log_p_BLV > least_BL1).sum(-1).max())
    expect(not k or above < k, f"{above + 1} codes with unequal probabilities, and top_k={k}")


def later_steps_do_not_matter(subject: TeacherSubject, case: Case) -> None:
    """log_probs() of a step depends on the latents of earlier steps alone."""
    tokens_BL, end = subject.tokens(case), subject.teacher.layout.offset(case.step)
    others_BL = torch.cat([tokens_BL[:, :end], subject.tokens(case, "other")[:, end:]], dim=1)
    before_BLV, after_BLV = subject.log_probs(case, tokens_BL), subject.log_probs(case, others_BL)
    for step in range(case.step + 1):
        span = subject.teacher.layout.span(step)
        apart = variation(after_BLV[:, span], before_BLV[:, span])
        said = f"step {step} moved by {apart:.3g} with the tokens of steps {case.step} and later"
        expect(apart <= SAME / 10, said)


def an_image_does_not_depend_on_its_batch(subject: TeacherSubject, case: Case) -> None:
    """log_probs() of an image are the same alone and in a batch, up to rounding."""
    tokens_BL, condition = subject.tokens(case), subject.condition(case)
    whole_BLV = subject.log_probs(case, tokens_BL)
    codes_VC = subject.teacher.tokenizer.codebook
    for row in range(case.batch):
        one = slice(row, row + 1)
        with torch.no_grad():
            alone_1LV = subject.teacher.log_probs(condition[one], codes_VC[tokens_BL[one]])
        apart = variation(alone_1LV, whole_BLV[one])
        expect(apart <= SAME, f"image {row}'s distributions {apart:.3g} away from those it has alone")


def the_draw_decides_a_sample(subject: TeacherSubject, case: Case) -> None:
    """Samples and log_probs() are the same bits whatever the global generators are seeded with."""
    condition, tokens_BL = subject.condition(case), subject.tokens(case)
    uniform_BL = case.own(subject.device).uniform("u", subject.teacher.layout.n_tokens)
    looking.expect_same_twice(lambda: subject.log_probs(case, tokens_BL), "log_probs()")
    looking.expect_same_twice(lambda: teacher_tokens(subject.teacher, condition, uniform_BL), "a sample")


def it_works_in_bfloat16(subject: TeacherSubject, case: Case) -> None:
    """Under bfloat16's autocast, log_probs() is still float32 and normalised, and near float32's."""
    tokens_BL = subject.tokens(case)
    plain_BLV = subject.log_probs(case, tokens_BL)
    with torch.autocast(subject.device.type, torch.bfloat16):
        rough_BLV = subject.log_probs(case, tokens_BL)
    expect_tensor(rough_BLV, tuple(plain_BLV.shape), torch.float32, subject.device, "log_probs()")
    expect_distributions(rough_BLV, "log_probs()")
    gap = float(0.5 * (rough_BLV.exp() - plain_BLV.exp()).abs().sum(-1).mean())
    expect(gap <= _BF16, f"distributions {gap:.3g} away from float32's on average")


def nobody_changes_the_teacher(subject: TeacherSubject, case: Case) -> None:
    """start(), accept() and log_probs() change neither their arguments nor the teacher."""
    teacher, tokens_BL, condition = subject.teacher, subject.tokens(case), subject.condition(case)
    latents_BLC = teacher.tokenizer.codebook[tokens_BL]
    given = {"condition": condition, "latents": latents_BLC, "tokens": tokens_BL}
    before, given_before = looking.all_bits(teacher), looking.all_bits(given)
    with torch.no_grad():
        teacher.log_probs(condition, latents_BLC)
        cursor = teacher.start(condition)
        for step in range(subject.n_steps):
            cursor.log_probs()
            cursor.accept(tokens_BL[:, teacher.layout.span(step)])
    looking.expect_unchanged(before, teacher, "sampling")
    looking.expect_unchanged(given_before, given, "sampling")


def its_distribution_is_a_constant(subject: TeacherSubject, case: Case) -> None:
    """log_probs() carries no gradient of the teacher's own weights, which are frozen."""
    codes_BLC = subject.teacher.tokenizer.codebook[subject.tokens(case)]
    log_p_BLV = subject.teacher.log_probs(subject.condition(case), codes_BLC)
    expect(not log_p_BLV.requires_grad, "log_probs() with a gradient, of latents without one")


def it_moves_to_a_device(subject: TeacherSubject, case: Case) -> None:
    """to(device) gives the teacher itself or one like it, which works there."""
    tokens_BL, before_BLV = subject.tokens(case), subject.log_probs(case, subject.tokens(case))
    moved: object = subject.teacher.to(subject.device)
    expect(isinstance(moved, ARTeacher), f"to(device) gives {type(moved).__name__}, which is no teacher")
    assert isinstance(moved, ARTeacher)
    after_BLV = TeacherSubject(moved, subject.example).log_probs(case, tokens_BL)
    apart = variation(after_BLV, before_BLV)
    expect(apart <= SAME, f"another distribution by {apart:.3g} after to({subject.device})")


CHECKS: tuple[Check[TeacherSubject], ...] = (
    Check(it_has_what_the_protocol_demands, examples=0, gate=True),
    Check(constants_are_told_in_json, examples=0),
    Check(log_probs_are_distributions, gate=True),
    Check(top_k_leaves_k_codes),
    Check(later_steps_do_not_matter),
    Check(an_image_does_not_depend_on_its_batch),
    Check(the_draw_decides_a_sample),
    Check(it_works_in_bfloat16, examples=0),
    Check(nobody_changes_the_teacher, examples=0),
    Check(its_distribution_is_a_constant, examples=0),
    Check(it_moves_to_a_device, examples=0),
)
