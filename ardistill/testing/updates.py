"""What a method promises of its training: updates, checkpoints, and the student at the end.

Shape legend: B batch.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import torch
from torch import nn

from ardistill.protocols import DistillMethod, Phase
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect
from ardistill.testing.practice import MethodSubject, Quiet, begun, optimisers_of, updated
from ardistill.training.checkpoint import Checkpoints, Position, flatten, restore, restore_optimisers
from ardistill.training.optimise import Optimiser, training_only
from ardistill.training.step import Engine

_LEARNING = 5
"""Updates on one batch, after which a loss is to have fallen."""


def an_update_moves_its_role_alone(subject: MethodSubject, case: Case) -> None:
    """An update moves its role's network and that one's average, and nothing else."""
    del case
    for index in range(len(subject.fresh().phases())):
        method = subject.fresh()
        phase = begun(method, index)
        optimisers = optimisers_of(phase)
        for update in range(2):
            role = phase.roles[phase.role(update)]
            mine = {id(t) for m in (role.module, role.average) if m is not None for t in m.parameters()}
            buffers = {id(t) for m in (role.module, role.average) if m is not None for t in m.buffers()}
            things = {"modules": dict(method.modules), "teacher": subject.teacher}
            others = {p: t for p, t in looking.tensors_of(things).items() if id(t) not in mine | buffers}
            before, own = looking.all_bits(others), looking.all_bits(role.module)
            updated(method, phase, optimisers, range(update, update + 1))
            said = f"an update of role {phase.role(update)} in phase {phase.name}"
            looking.expect_unchanged(before, others, said)
            expect(looking.all_bits(role.module) != own, f"{said} moved nothing")


def training_lowers_a_loss(subject: MethodSubject, case: Case) -> None:
    """In every phase, five updates of a role on one batch lower its loss, for at least one of the roles."""
    del case
    for index in range(len(subject.fresh().phases())):
        told = []
        for name in subject.fresh().phases()[index].roles:
            method = subject.fresh()
            phase = begun(method, index)
            losses = _learning(subject, method, phase, name)
            told.append(f"{name} from {losses[0]:.6g} to {min(losses[1:]):.6g} at best")
            if min(losses[1:]) < losses[0]:
                break
        else:
            expect(holds=False, found=f"losses in phase {phase.name}: {', '.join(told)}")


def _learning(subject: MethodSubject, method: DistillMethod, phase: Phase, name: str) -> list[float]:
    """The loss of the phase's first batch, before and after each update on it at the full learning rate."""
    role = attrs.evolve(phase.roles[name], warmup=0, decay=1.0)
    optimiser, draw, losses = Optimiser(role), subject.draw(phase, 0, phase.batch), []
    with training_only(role.module, method.modules):
        for _ in range(_LEARNING):
            total = torch.stack([*phase.losses(name, draw).values()]).sum()
            losses.append(float(total.detach()))
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step(0, phase.images)
        losses.append(float(torch.stack([*phase.losses(name, draw).values()]).sum().detach()))
    return losses


def training_resumes_bit_for_bit(subject: MethodSubject, case: Case) -> None:
    """Two updates, a checkpoint restored into a method made anew, and a third end in the same bits as three."""
    del case
    for index in range(len(subject.fresh().phases())):
        method = subject.fresh()
        phase = begun(method, index)
        optimisers = optimisers_of(phase)
        updated(method, phase, optimisers, range(2))
        with TemporaryDirectory() as folder:
            path, position = _saved(Path(folder), method, phase, optimisers)
            updated(method, phase, optimisers, range(2, 3))
            again = subject.fresh()
            restore(path, again.modules)
            phase_again = again.phases()[index]
            optimisers_again = optimisers_of(phase_again)
            restore_optimisers(path, position, optimisers_again)
        updated(again, phase_again, optimisers_again, range(2, 3))
        whole, resumed = flatten(method.modules), flatten(again.modules)
        differing = [key for key, value in whole.items() if looking.bits(value) != looking.bits(resumed[key])]
        said = f"phase {phase.name} ends otherwise when resumed, first in {differing[:1]}"
        expect(
            not differing, f"{said}: something is kept outside of the modules, or begin() has to run again"
        )


def _saved(
    folder: Path, method: DistillMethod, phase: Phase, optimisers: dict[str, Optimiser]
) -> tuple[Path, Position]:
    checkpoints = Checkpoints(folder / "checkpoints")
    counts = {name: optimiser.updates for name, optimiser in optimisers.items()}
    position = Position(phase.name, images=2 * phase.batch, update=2, role_updates=counts)
    checkpoints.save(position, method.modules, optimisers)
    found = checkpoints.latest()
    assert found is not None
    return found


def preparing_again_changes_nothing(subject: MethodSubject, case: Case) -> None:
    """prepare() may be called again, by the same method or another in the same folder, and leads to the same losses."""
    del case
    method, again = subject.fresh(), subject.fresh()
    method.prepare(Quiet())
    pairs = list(zip(method.phases(), again.phases(), strict=True))
    for phase, phase_again in pairs:
        phase.begin()
        phase_again.begin()
        draw = subject.draw(phase, 0, 2)
        for role in phase.roles:
            first, second = (p.losses(role, draw) for p in (phase, phase_again))
            differing = [key for key in first if looking.bits(first[key]) != looking.bits(second[key])]
            expect(not differing, f"another loss {differing[:1]} of {role} in phase {phase.name}")


def updates_work_in_bfloat16(subject: MethodSubject, case: Case) -> None:
    """An update under bfloat16's autocast runs, and leaves finite float32 weights."""
    del case
    method = subject.fresh()
    for phase in method.phases():
        phase.begin()
        updated(method, phase, optimisers_of(phase), range(2), Engine(precision="bf16"))
        bad = [key for key, t in flatten(method.modules).items() if t.is_floating_point() and t.isnan().any()]
        expect(not bad, f"nan in {bad[:1]} after two updates of phase {phase.name}")


def its_student_is_one_of_its_modules(subject: MethodSubject, case: Case) -> None:
    """student() is a module whose tensors are among those a checkpoint holds."""
    del case
    method = subject.fresh()
    student: object = method.student()
    expect(isinstance(student, nn.Module), f"student() is {type(student).__name__}, not a module")
    assert isinstance(student, nn.Module)
    kept = {id(t) for t in looking.tensors_of(dict(method.modules)).values()}
    lost = [path for path, tensor in student.state_dict(keep_vars=True).items() if id(tensor) not in kept]
    expect(not lost, f"{lost[:1]} of the student in no module of the method")


CHECKS: tuple[Check[MethodSubject], ...] = (
    Check(an_update_moves_its_role_alone, examples=0),
    Check(training_lowers_a_loss, examples=0),
    Check(training_resumes_bit_for_bit, examples=0),
    Check(preparing_again_changes_nothing, examples=0),
    Check(updates_work_in_bfloat16, examples=0),
    Check(its_student_is_one_of_its_modules, examples=0),
)
