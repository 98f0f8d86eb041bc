"""What a student promises (`protocols.Student`).

Shape legend: B batch, L tokens, V codes, C code width.
"""

import copy
import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import attrs
import torch
from torch import Tensor, nn

from ardistill.plugins import discover
from ardistill.protocols import Prediction, Student, StudentSpec
from ardistill.sampling import generate
from ardistill.testing import looking, toy
from ardistill.testing.conformity import Case, Check, expect, expect_members
from ardistill.testing.looking import TOLERANCE, expect_close, expect_tensor, tensors_of
from ardistill.testing.subjects import Rebuild, StudentSubject
from ardistill.weights import load_strict, read_weights, write_weights

_BF16 = 0.25
"""Of the latents' size, that bfloat16 may move them by on average."""


def it_has_what_the_protocol_demands(subject: StudentSubject, case: Case) -> None:
    """A student is a module with every name of protocols.Student, and knows a jump or brings a schedule."""
    del case
    student: object = subject.student
    expect(isinstance(student, nn.Module), f"{type(student).__name__} is no torch.nn.Module")
    expect_members(student, Student)
    jumps, n_steps = subject.student.jumps, subject.teacher.layout.n_steps
    expect(bool(jumps or subject.student.schedules), "neither jumps nor schedules")
    starts = [jump.start for jump in jumps]
    expect(
        starts == sorted(set(starts)) and starts[:1] in ([], [0]),
        f"jumps that start at {starts}, not at 0 first",
    )
    beyond = [move for move in subject.moves if move.start >= n_steps or move.split > n_steps]
    expect(not beyond, f"{beyond[:1]} beyond the teacher's {n_steps} steps")


def a_jump_predicts_every_token(subject: StudentSubject, case: Case) -> None:
    """jump() gives latents (B, L, C) float32, finite, and logits (B, L, V) float32 where its split needs them."""
    move, codes_VC, layout = subject.move(case), subject.teacher.tokenizer.codebook, subject.teacher.layout
    made = subject.jump(case, subject.state(case))
    shape = (case.batch, layout.n_tokens, codes_VC.shape[1])
    expect_tensor(made.latents_BLC, shape, torch.float32, subject.of.device, f"latents of {move}")
    expect(bool(made.latents_BLC.isfinite().all()), f"nan or infinity in the latents of {move}")
    expect(made.logits_BLV is not None or move.split <= move.start, f"no logits, which {move} is read from")
    if made.logits_BLV is not None:
        shape = (case.batch, layout.n_tokens, len(codes_VC))
        expect_tensor(made.logits_BLV, shape, torch.float32, subject.of.device, f"logits of {move}")
        expect(not made.logits_BLV.isnan().any(), f"nan in the logits of {move}")


def a_jump_leaves_the_prefix_alone(subject: StudentSubject, case: Case) -> None:
    """Latents before a jump's start pass through untouched, bit for bit."""
    state_BLC, start = subject.state(case), subject.move(case).start
    cut = subject.teacher.layout.offset(start)
    made_BLC = subject.jump(case, state_BLC.clone()).latents_BLC
    apart = looking.furthest(made_BLC[:, :cut], state_BLC[:, :cut])
    expect(apart == 0, f"latents of steps before {start} moved by {apart:.3g}")


def the_same_comes_out_again(subject: StudentSubject, case: Case) -> None:
    """jump() gives the same bits whatever the global generators are seeded with."""
    state_BLC = subject.state(case)
    looking.expect_same_twice(lambda: subject.jump(case, state_BLC).latents_BLC, "jump()")


def an_image_does_not_depend_on_its_batch(subject: StudentSubject, case: Case) -> None:
    """jump() gives an image the same alone and in a batch, up to rounding."""
    state_BLC = subject.state(case)
    whole = subject.jump(case, state_BLC)
    for row in range(case.batch):
        one = slice(row, row + 1)
        alone = subject.jump(case, state_BLC, one)
        for what, a, b in _outputs(alone, _row(whole, one)):
            expect_close(a, b, f"{what} of image {row} differ from those it has alone", 10 * TOLERANCE)


def _row(made: Prediction, one: slice) -> Prediction:
    return Prediction(made.latents_BLC[one], None if made.logits_BLV is None else made.logits_BLV[one])


def _outputs(one: Prediction, other: Prediction) -> list[tuple[str, Tensor, Tensor]]:
    pairs = [("latents", one.latents_BLC, other.latents_BLC)]
    if one.logits_BLV is not None and other.logits_BLV is not None:
        pairs.append(("logits", one.logits_BLV, other.logits_BLV))
    return pairs


def positions_see_what_the_alignment_allows(subject: StudentSubject, case: Case) -> None:
    """What is predicted for a position depends on earlier steps, with the alignment own on its own latent too."""
    if subject.sees is None:
        return
    layout, state_BLC = subject.teacher.layout, subject.state(case)
    steps_L = layout.step_of_token()
    place = int(Case(1, case.seed).own().integers("place", layout.n_tokens))
    deaf_L = steps_L <= steps_L[place]
    deaf_L[place] = subject.sees == "prefix" and place >= layout.offset(subject.move(case).start)
    changed_BLC = state_BLC.clone()
    changed_BLC[:, place] = subject.of.noise(case, "other")[:, place]
    before, after = subject.jump(case, state_BLC), subject.jump(case, changed_BLC)
    for what, a, b in _outputs(after, before):
        said = f"{what} of positions that may not see position {place} moved with its latent"
        expect_close(a[:, deaf_L], b[:, deaf_L], said, TOLERANCE / 10)


def nothing_given_is_changed(subject: StudentSubject, case: Case) -> None:
    """jump() changes neither its arguments, nor the student, nor the teacher."""
    state_BLC, condition = subject.state(case), subject.of.condition(case)
    given = {"latents": state_BLC, "condition": condition}
    things = {"student": subject.module, "teacher": subject.teacher, "arguments": given}
    before = looking.all_bits(things)
    with torch.no_grad():
        subject.student.jump(state_BLC, condition, subject.move(case).start)
    looking.expect_unchanged(before, things, "jump()")


def it_is_independent_of_the_teacher(subject: StudentSubject, case: Case) -> None:
    """No parameter shares memory with the teacher's tensors, and every one is registered with the module."""
    del case
    own = dict(subject.module.named_parameters())
    looking.expect_apart(own, tensors_of(subject.teacher), "share memory with the teacher's")
    known, teachers = (
        {id(tensor) for tensor in own.values()},
        {id(t) for t in tensors_of(subject.teacher).values()},
    )
    hidden = [
        path
        for path, tensor in tensors_of(subject.module).items()
        if isinstance(tensor, nn.Parameter) and id(tensor) not in known | teachers
    ]
    expect(not hidden, f"{hidden[:1]} is a parameter that parameters() does not list")


def its_state_rebuilds_it(subject: StudentSubject, case: Case) -> None:
    """A student rebuilt from its spec, as JSON keeps it, and a file of its weights jumps the same, bit for bit."""
    student = copy.deepcopy(subject.module)
    looking.stir(student, seed=1)
    twin = _rebuilt(subject, student)
    if twin is None:
        return
    ours, theirs = (attrs.evolve(subject, student=cast(Student, module.eval())) for module in (student, twin))
    expect(theirs.moves == ours.moves, f"rebuilt with jumps {theirs.moves} instead of {ours.moves}")
    state_BLC = subject.state(case)
    for what, a, b in _outputs(theirs.jump(case, state_BLC), ours.jump(case, state_BLC)):
        apart = looking.furthest(a, b)
        expect(apart == 0, f"{what} that differ by {apart:.3g} once rebuilt")


def _rebuilt(subject: StudentSubject, student: nn.Module) -> nn.Module | None:
    """One made anew with the student's weights, as a run's folder gives it back; None where nothing says how."""
    if subject.spec is not None:
        settings = json.loads(json.dumps(subject.spec.settings))
        rebuild = subject.rebuild or _registered(subject.spec)
        twin = rebuild(settings, subject.teacher)
    elif subject.again is not None:
        twin = cast(nn.Module, subject.again())
    else:
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "student.safetensors"
        write_weights(path, student.state_dict(), {})
        load_strict(twin, read_weights(path), "the rebuilt student")
    return twin.to(subject.of.device)


def _registered(spec: StudentSpec) -> Rebuild:
    if spec.offer == toy.OFFER:
        return toy.rebuild
    rebuild: Rebuild = discover().load("student", spec.offer)
    return rebuild


def schedules_can_be_followed(subject: StudentSubject, case: Case) -> None:
    """Every schedule it brings gives finite latents (B, L, C), the same ones for the same draw."""
    condition, teacher = subject.of.condition(case), subject.teacher
    shape = tuple(subject.state(case).shape)
    for words, plan in subject.student.schedules.items():
        make = partial(generate, plan, subject.student, teacher, condition, case.draw(subject.of.device))
        made_BLC = make()
        expect_tensor(made_BLC, shape, torch.float32, subject.of.device, f"steps={words}")
        expect(bool(made_BLC.isfinite().all()), f"nan or infinity by steps={words}")
        looking.expect_same_twice(make, f"steps={words}")


def it_works_in_bfloat16(subject: StudentSubject, case: Case) -> None:
    """Under bfloat16's autocast, jump() stays finite and near float32's."""
    state_BLC = subject.state(case)
    plain_BLC = subject.jump(case, state_BLC).latents_BLC
    with torch.autocast(subject.of.device.type, torch.bfloat16):
        rough_BLC = subject.jump(case, state_BLC).latents_BLC.float()
    expect(bool(rough_BLC.isfinite().all()), "nan or infinity in the latents")
    apart = float((rough_BLC - plain_BLC).abs().mean() / (1 + plain_BLC.abs().mean()))
    expect(apart <= _BF16, f"latents {apart:.3g} away from float32's on average")


CHECKS: tuple[Check[StudentSubject], ...] = (
    Check(it_has_what_the_protocol_demands, examples=0, gate=True),
    Check(a_jump_predicts_every_token, gate=True),
    Check(a_jump_leaves_the_prefix_alone),
    Check(the_same_comes_out_again),
    Check(an_image_does_not_depend_on_its_batch),
    Check(positions_see_what_the_alignment_allows, examples=10),
    Check(nothing_given_is_changed, examples=0),
    Check(it_is_independent_of_the_teacher, examples=0),
    Check(its_state_rebuilds_it, examples=0),
    Check(schedules_can_be_followed, examples=0),
    Check(it_works_in_bfloat16, examples=0),
)
