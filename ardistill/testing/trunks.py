"""What a teacher's `trunk()` promises: a trainable copy of its network (`protocols.Trunk`).

Shape legend: B batch, L tokens, C code width, D trunk width.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from ardistill.protocols import Trunk
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect
from ardistill.testing.looking import TOLERANCE, expect_close, expect_tensor, tensors_of
from ardistill.testing.subjects import TeacherSubject


def _trunk(subject: TeacherSubject) -> nn.Module:
    trunk: object = subject.teacher.trunk()
    expect(isinstance(trunk, nn.Module), f"trunk() gives {type(trunk).__name__}, not a module")
    assert isinstance(trunk, nn.Module)
    return trunk


def _features(subject: TeacherSubject, case: Case, trunk: nn.Module, latents_BLC: Tensor) -> Tensor:
    with torch.no_grad():
        return cast(Trunk, trunk)(latents_BLC, subject.condition(case))


def a_trunk_gives_a_feature_a_token(subject: TeacherSubject, case: Case) -> None:
    """trunk()(latents, condition) is (B, L, D) float32 and finite, where D is the trunk's width."""
    trunk = _trunk(subject)
    width = getattr(trunk, "width", None)
    expect(type(width) is int and width > 0, f"trunk().width is {width!r}")
    assert isinstance(width, int)
    features_BLD = _features(subject, case, trunk, subject.noise(case))
    shape = (case.batch, subject.teacher.layout.n_tokens, width)
    expect_tensor(features_BLD, shape, torch.float32, subject.device, "trunk()(latents, condition)")
    expect(bool(features_BLD.isfinite().all()), "nan or infinity in trunk()'s features")


def a_trunk_sees_earlier_steps_alone(subject: TeacherSubject, case: Case) -> None:
    """A trunk's feature depends on the latents of earlier steps alone (the alignment prefix)."""
    trunk, noise_BLC = _trunk(subject), subject.noise(case)
    before_BLD = _features(subject, case, trunk, noise_BLC)
    after_BLD = _features(subject, case, trunk, subject.after(case, case.step, noise_BLC))
    end = subject.teacher.layout.offset(case.step + 1)
    said = f"features of steps 0..{case.step} moved with the latents of steps {case.step} and later"
    expect_close(after_BLD[:, :end], before_BLD[:, :end], said, TOLERANCE / 10)


def a_trunk_passes_gradients(subject: TeacherSubject, case: Case) -> None:
    """A gradient reaches a trunk's parameters and the latents of all steps but the last, and not the teacher."""
    trunk, layout = _trunk(subject).requires_grad_(True), subject.teacher.layout
    expect(any(True for _ in trunk.parameters()), "a trunk without parameters")
    before = looking.gradients(subject.teacher)
    latents_BLC = subject.noise(case).requires_grad_()
    features_BLD = cast(Trunk, trunk)(latents_BLC, subject.condition(case))
    weight_BLD = case.own(subject.device).normal("weight", *features_BLD.shape[1:])
    (features_BLD * weight_BLD).sum().backward()  # type: ignore[no-untyped-call]
    reached = [p.grad for p in trunk.parameters() if p.grad is not None]
    expect(any(bool((grad != 0).any()) for grad in reached), "no gradient in any of the trunk's parameters")
    expect(all(bool(grad.isfinite().all()) for grad in reached), "nan or infinity in the gradient")
    read = layout.offset(layout.n_steps - 1)
    gradient_BLC = latents_BLC.grad
    heard = gradient_BLC is not None and bool((gradient_BLC[:, :read] != 0).any())
    expect(heard or not read, "no gradient in the latents of any step but the last")
    looking.expect_no_gradients(before, subject.teacher, "the teacher")


def trunks_are_alike(subject: TeacherSubject, case: Case) -> None:
    """Every trunk() starts with the same weights, whatever the global generators are seeded with."""
    del case
    first, second = looking.twice(
        lambda: {k: looking.bits(v) for k, v in _trunk(subject).state_dict().items()}
    )
    differing = [key for key in {*first, *second} if first.get(key) != second.get(key)]
    expect(not differing, f"another {differing[:1]} the second time")


def a_trunk_is_independent(subject: TeacherSubject, case: Case) -> None:
    """A trunk shares no memory with the teacher or another trunk, so that training it changes neither."""
    trunk, other = _trunk(subject), _trunk(subject)
    looking.expect_apart(tensors_of(trunk), tensors_of(subject.teacher), "share memory with the teacher's")
    looking.expect_apart(tensors_of(trunk), tensors_of(other), "share memory with another trunk()'s")
    before, tokens_BL = looking.all_bits(subject.teacher), subject.tokens(case)
    log_p_BLV = subject.log_probs(case, tokens_BL)
    looking.stir(trunk)
    looking.expect_unchanged(before, subject.teacher, "training a trunk")
    moved = looking.furthest(subject.log_probs(case, tokens_BL), log_p_BLV)
    expect(moved == 0, f"log_probs() that training a trunk moved by {moved:.3g}")


def a_trunks_state_is_whole(subject: TeacherSubject, case: Case) -> None:
    """A trunk's state dict, loaded into another, or a copy of it, gives the same features."""
    trunk, twin, noise_BLC = _trunk(subject), _trunk(subject), subject.noise(case)
    looking.stir(trunk)
    twin.load_state_dict(trunk.state_dict())
    features_BLD = _features(subject, case, trunk, noise_BLC)
    for what, same in (("with its state loaded", twin), ("copied", copy.deepcopy(trunk))):
        apart = looking.furthest(_features(subject, case, same, noise_BLC), features_BLD)
        expect(apart == 0, f"features that differ by {apart:.3g} in a trunk {what}")


CHECKS: tuple[Check[TeacherSubject], ...] = (
    Check(a_trunk_gives_a_feature_a_token, gate=True),
    Check(a_trunk_sees_earlier_steps_alone),
    Check(a_trunk_passes_gradients, examples=0),
    Check(trunks_are_alike, examples=0),
    Check(a_trunk_is_independent, examples=0),
    Check(a_trunks_state_is_whole, examples=0),
)
