"""What a method promises of its phases and losses (`protocols.DistillMethod`, `Phase`).

Shape legend: B batch.
"""

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ardistill.protocols import DistillMethod, Phase, Role, StudentSpec
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect, expect_members
from ardistill.testing.looking import tensors_of
from ardistill.testing.practice import MethodSubject
from ardistill.training.optimise import training_only

_UPDATES = 24
"""Of a phase, whose roles are asked for."""


def it_has_what_the_protocol_demands(subject: MethodSubject, case: Case) -> None:
    """A method has every name of protocols.DistillMethod, modules by name, and a spec that JSON can hold."""
    del case
    method = subject.fresh()
    expect_members(method, DistillMethod)
    spec: object = method.student_spec
    expect(isinstance(spec, StudentSpec), f"student_spec is {type(spec).__name__}")
    try:
        json.dumps(dict(method.student_spec.settings))
    except TypeError as error:
        expect(holds=False, found=f"settings of the student_spec that JSON can't hold ({error})")
    odd = [name for name, module in method.modules.items() if not isinstance(module, nn.Module)]
    expect(bool(method.modules) and not odd, f"modules that are none: {odd}" if odd else "no modules")


def phases_are_well_formed(subject: MethodSubject, case: Case) -> None:
    """Phases have names of their own, images and batches above 0, roles by name, and a begin() and losses()."""
    del case
    phases = subject.fresh().phases()
    names = [phase.name for phase in phases]
    expect(len(set(names)) == len(names) and all(names), f"phases called {names}")
    for phase in phases:
        expect_members(phase, Phase)
        for what, number in (("images", phase.images), ("batch", phase.batch)):
            whole: object = number
            expect(type(whole) is int and whole > 0, f"{what} of phase {phase.name} is {number!r}")
        odd = [name for name, role in phase.roles.items() if not isinstance(role, Role)]
        expect(
            bool(phase.roles) and not odd,
            f"roles of phase {phase.name} are {dict(phase.roles) if odd else 'none'}",
        )


def updates_train_known_roles(subject: MethodSubject, case: Case) -> None:
    """phase.role(n) names one of the phase's roles, the same whenever it is asked."""
    del case
    for phase in subject.fresh().phases():
        for update in range(_UPDATES):
            name = phase.role(update)
            known = ", ".join(phase.roles)
            expect(
                name in phase.roles,
                f"update {update} of phase {phase.name} trains {name!r}; its roles: {known}",
            )
            expect(
                phase.role(update) == name, f"phase {phase.name} names another role for update {update} later"
            )


def modules_hold_all_that_is_trained(subject: MethodSubject, case: Case) -> None:
    """Every parameter of a role, and of its average, belongs to one of the method's modules."""
    del case
    method = subject.fresh()
    kept = {id(tensor) for module in method.modules.values() for tensor in module.parameters()}
    for phase in method.phases():
        for name, role in phase.roles.items():
            parameters = [*role.module.parameters()]
            expect(bool(parameters), f"role {name} of phase {phase.name} has no parameters")
            averaged = [] if role.average is None else [*role.average.parameters()]
            lost = [tensor for tensor in (*parameters, *averaged) if id(tensor) not in kept]
            said = (
                f"{len(lost)} parameters of role {name} in phase {phase.name} are in no module of the method"
            )
            expect(not lost, said)


def averages_stand_apart(subject: MethodSubject, case: Case) -> None:
    """A role's average is a network like the role's own, and shares no memory with it."""
    del case
    for phase in subject.fresh().phases():
        for name, role in phase.roles.items():
            if role.average is None:
                continue
            ours, theirs = (dict(m.named_parameters()) for m in (role.module, role.average))
            said = f"share memory with the average of role {name} in phase {phase.name}"
            looking.expect_apart(ours, theirs, said)
            shapes = [[tuple(t.shape) for t in tensors.values()] for tensors in (ours, theirs)]
            expect(
                shapes[0] == shapes[1],
                f"the average of role {name} in phase {phase.name} has other parameters",
            )


def the_context_decides_the_start(subject: MethodSubject, case: Case) -> None:
    """A method's modules start the same whatever the global generators are seeded with."""
    del case
    first, second = looking.twice(lambda: _bits(subject.fresh().modules))
    differing = [name for name in {*first, *second} if first.get(name) != second.get(name)]
    expect(not differing, f"another {differing[:1]} the second time")


def _bits(modules: Mapping[str, nn.Module]) -> dict[str, bytes]:
    return {
        f"{name}.{key}": looking.bits(value)
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def making_it_writes_nothing(subject: MethodSubject, case: Case) -> None:
    """Making a method writes nothing; prepare() alone does, into the run's folder."""
    del case
    folder = subject.folder / "untouched"
    subject.made(folder)
    written = sorted(path.name for path in folder.rglob("*")) if folder.exists() else []
    expect(not written, f"{written[:3]} in the run's folder")


def losses_are_finite_terms(subject: MethodSubject, case: Case) -> None:
    """losses(role, draw) are named scalars, finite, whose sum has a gradient."""
    for phase, role in subject.entered(case):
        terms = _losses(subject, phase, role, case.batch)
        expect(
            isinstance(terms, Mapping) and bool(terms),
            f"{role} of phase {phase.name} has the losses {terms!r}",
        )
        for name, value in terms.items():
            said = f"loss {name} of {role} in phase {phase.name}"
            expect(isinstance(value, Tensor) and value.ndim == 0, f"{said} is no scalar tensor")
            expect(bool(value.isfinite()), f"{said} is {float(value.detach())}")
        expect(any(value.requires_grad for value in terms.values()), f"no gradient in the losses of {role}")


def _losses(
    subject: MethodSubject, phase: Phase, role: str, count: int, first: int = 0
) -> Mapping[str, Tensor]:
    """Of the images from `first` on, with gradients for the role alone, as in training."""
    with training_only(phase.roles[role].module, subject.method.modules):
        return phase.losses(role, subject.draw(phase, first, count))


def losses_depend_on_the_draw_alone(subject: MethodSubject, case: Case) -> None:
    """losses() of a draw are the same bits whatever the global generators hold, and whatever was drawn before."""
    for phase, role in subject.entered(case):

        def total(phase: Phase = phase, role: str = role) -> Tensor:
            return torch.stack([*_losses(subject, phase, role, case.batch).values()]).sum().detach()

        said = f"the loss of {role} in phase {phase.name}"
        before = total()
        looking.expect_same_twice(total, said)
        _losses(subject, phase, role, case.batch + 1, first=case.batch)
        apart = looking.furthest(total(), before)
        expect(apart == 0, f"{said} moved by {apart:.3g} once another batch had been drawn")


def losses_change_nothing(subject: MethodSubject, case: Case) -> None:
    """losses() change neither the method's modules nor the teacher, and backward() fills the role's gradients alone."""
    for phase, role in subject.entered(case):
        modules = dict(subject.method.modules)
        for seed, module in enumerate(modules.values()):
            looking.stir(
                module, seed
            )  # two networks may begin where neither has anything to learn of the other
            module.zero_grad()  # what the role before has left
        things = {"modules": modules, "teacher": subject.teacher}
        before, trained = looking.all_bits(things), phase.roles[role].module
        of_teacher = looking.gradients(subject.teacher)
        with training_only(trained, modules):
            terms = phase.losses(role, subject.draw(phase, 0, case.batch))
            torch.stack([*terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
        said = f"the losses of {role} in phase {phase.name}"
        looking.expect_unchanged(before, things, said)
        looking.expect_no_gradients(of_teacher, subject.teacher, "the teacher")
        own = {id(tensor) for tensor in trained.parameters()}
        others = {k: t for k, t in tensors_of(modules).items() if id(t) not in own}
        looking.expect_no_gradients({}, others, f"what {said} do not train, the modules")
        grads = [tensor.grad for tensor in trained.parameters() if tensor.grad is not None]
        expect(any(bool((grad != 0).any()) for grad in grads), f"no gradient in {role} of phase {phase.name}")
        expect(all(bool(grad.isfinite().all()) for grad in grads), f"nan in a gradient of {role}")


def begin_copies_and_trains_nothing(subject: MethodSubject, case: Case) -> None:
    """begin() gives modules only weights that one of them, or a fresh one, has already."""
    del case
    method = subject.fresh()
    fresh = set(_bits(method.modules).values())
    for seed, module in enumerate(method.modules.values()):
        looking.stir(module, seed)
    for phase in method.phases():
        known = fresh | set(_bits(method.modules).values())
        phase.begin()
        new = [key for key, digest in _bits(method.modules).items() if digest not in known]
        said = f"begin() of phase {phase.name} gave {new[:1]} weights that no module had"
        expect(not new, said)


CHECKS: tuple[Check[MethodSubject], ...] = (
    Check(it_has_what_the_protocol_demands, examples=0, gate=True),
    Check(phases_are_well_formed, examples=0, gate=True),
    Check(updates_train_known_roles, examples=0, gate=True),
    Check(modules_hold_all_that_is_trained, examples=0),
    Check(averages_stand_apart, examples=0),
    Check(the_context_decides_the_start, examples=0),
    Check(making_it_writes_nothing, examples=0),
    Check(losses_are_finite_terms, examples=3, gate=True),
    Check(losses_depend_on_the_draw_alone, examples=2),
    Check(losses_change_nothing, examples=0),
    Check(begin_copies_and_trains_nothing, examples=0),
)
