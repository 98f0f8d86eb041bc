"""What a teacher's own student promises beyond a student (`protocols.Jumper`): it is called, and trained.

Shape legend: B batch, L tokens, V codes, C code width.
"""

from typing import Any, cast

import torch

from ardistill.errors import ConfigError
from ardistill.protocols import Jumper, Jumps
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect, expect_members
from ardistill.testing.looking import TOLERANCE, expect_close, expect_tensor
from ardistill.testing.subjects import StudentSubject


def _jumper(subject: StudentSubject) -> Jumper:
    return cast(Jumper, subject.student)


def a_call_predicts_every_token(subject: StudentSubject, case: Case) -> None:
    """Calling a jumper gives latents (B, L, C) and logits (B, L, V), both float32, for all positions."""
    expect_members(subject.student, Jumper)
    codes_VC, n_tokens = subject.teacher.tokenizer.codebook, subject.teacher.layout.n_tokens
    condition, start = subject.of.condition(case), subject.move(case).start
    with torch.no_grad():
        made = _jumper(subject)(subject.state(case), condition, start)
    shape, device = (case.batch, n_tokens), subject.of.device
    expect_tensor(made.latents_BLC, (*shape, codes_VC.shape[1]), torch.float32, device, "latents of a call")
    expect_tensor(made.logits_BLV, (*shape, len(codes_VC)), torch.float32, device, "logits of a call")


def a_jump_is_a_call(subject: StudentSubject, case: Case) -> None:
    """jump() gives what a call gives from the jump's start on."""
    move, state_BLC = subject.move(case), subject.state(case)
    cut = subject.teacher.layout.offset(move.start)
    with torch.no_grad():
        called = _jumper(subject)(state_BLC, subject.of.condition(case), move.start)
    jumped = subject.jump(case, state_BLC)
    said = f"latents from step {move.start} on differ between a call and jump()"
    expect_close(jumped.latents_BLC[:, cut:], called.latents_BLC[:, cut:], said)


def rows_may_start_apart(subject: StudentSubject, case: Case) -> None:
    """With one start for each row, a row is as with its own start alone."""
    state_BLC, condition = subject.state(case), subject.of.condition(case)
    starts = torch.tensor([move.start for move in subject.moves], device=subject.of.device)
    starts_B = starts[case.own(subject.of.device).integers("start", len(starts))]
    with torch.no_grad():
        together = _jumper(subject)(state_BLC, condition, starts_B)
        for row, start in enumerate(starts_B.tolist()):
            one = slice(row, row + 1)
            cut = subject.teacher.layout.offset(start)
            alone = _jumper(subject)(state_BLC[one], condition[one], start)
            said = f"latents of a row that starts at {start} differ from those it has alone"
            expect_close(together.latents_BLC[one, cut:], alone.latents_BLC[:, cut:], said, 10 * TOLERANCE)


def gradients_reach_the_jumper_alone(subject: StudentSubject, case: Case) -> None:
    """A gradient of both outputs reaches the parameters and the latents, and not the teacher."""
    module: Any = subject.module.requires_grad_(True)
    latents_BLC, before = subject.state(case).clone().requires_grad_(), looking.gradients(subject.teacher)
    made = module(latents_BLC, subject.of.condition(case), subject.move(case).start)
    expect(
        made.latents_BLC.requires_grad and made.logits_BLV.requires_grad,
        "a call is cut off from its gradient",
    )
    (made.latents_BLC.square().sum() + made.logits_BLV.square().sum()).backward()
    reached = [p.grad for p in subject.module.parameters() if p.grad is not None]
    grad_BLC = latents_BLC.grad
    module.zero_grad()
    expect(any(bool((grad != 0).any()) for grad in reached), "no gradient in any parameter")
    expect(all(bool(grad.isfinite().all()) for grad in reached), "nan or infinity in the gradient")
    expect(grad_BLC is not None and bool((grad_BLC != 0).any()), "no gradient in the latents")
    looking.expect_no_gradients(before, subject.teacher, "the teacher")


def the_seed_decides_fresh_weights(subject: StudentSubject, case: Case) -> None:
    """jumper(jumps, seed) has the same weights whatever the global generators are seeded with."""
    del case

    def weights() -> dict[str, bytes]:
        made = subject.teacher.jumper(Jumps(), seed=5)
        return {key: looking.bits(value) for key, value in made.state_dict().items()}

    first, second = looking.twice(weights)
    differing = [key for key in {*first, *second} if first.get(key) != second.get(key)]
    expect(not differing, f"another {differing[:1]} the second time")


def jumps_beyond_the_steps_are_refused(subject: StudentSubject, case: Case) -> None:
    """jumper() raises ConfigError for jumps that start beyond the teacher's steps."""
    del case
    n_steps = subject.teacher.layout.n_steps
    try:
        subject.teacher.jumper(Jumps(starts=(0, n_steps)), seed=0)
    except ConfigError:
        return
    expect(holds=False, found=f"a student for starts=0,{n_steps} of a teacher of {n_steps} steps")


CHECKS: tuple[Check[StudentSubject], ...] = (
    Check(a_call_predicts_every_token, gate=True),
    Check(a_jump_is_a_call),
    Check(rows_may_start_apart),
    Check(gradients_reach_the_jumper_alone, examples=0),
    Check(the_seed_decides_fresh_weights, examples=0),
    Check(jumps_beyond_the_steps_are_refused, examples=0),
)
