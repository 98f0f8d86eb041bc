"""What the fixtures of DD1's students have in common: single passes, few-step samples, samples with teacher steps.

Samples are made by `ardistill.sampling`, as a user's are; what a single pass gives before it is read out is asked of
the student directly. Legend: B batch, L tokens, l of a prefix, C code width, V codes.
Recorded from distilled_decoding VAR/sample.py and combine_sample.py, LlamaGen/sample/eval_fewstep.py and
eval_combine_sample.py.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import attrs
import torch
from golden import Fixture
from torch import Tensor

from ardistill.flow import nearest_code
from ardistill.protocols import ARTeacher, Condition, Guidance, Jump, Prediction, Redraw, Schedule, Student
from ardistill.sampling import generate
from parity_checks.calls import Triple, as_logits, compared


@attrs.frozen(eq=False)
class RecordedNoise:
    """The fixture's noise where a sample asks for noise (`ardistill.protocols.Draw`)."""

    noise_BLC: Tensor

    def __len__(self) -> int:
        return len(self.noise_BLC)

    @property
    def update(self) -> Self:
        return self

    def indices(self) -> Tensor:
        return torch.arange(len(self))

    def normal(self, name: str, *shape: int) -> Tensor:
        assert (name, shape) == ("noise", self.noise_BLC.shape[1:])
        return self.noise_BLC

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Any number will do where top-k 1 leaves nothing to draw."""
        assert name == "redraw"
        return torch.full((len(self), *shape), 0.5)

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        raise AssertionError(f"no sample asks for integers, as {name} does: {shape} below {high}")


@attrs.frozen(eq=False)
class Distilled:
    """A student with what its samples need."""

    student: Student
    teacher: Callable[[Guidance], ARTeacher]
    condition: Condition
    noise_BLC: Tensor
    forward: Callable[[Tensor, int | Tensor], Prediction]
    """Both heads' answers for latents (B, L, C) whose first `start` steps are data; one start, or one a row."""
    image: Callable[[Tensor], Tensor]
    """Latents -> image as the fixture holds it."""

    def perturbed(self, latents_BLC: Tensor, start: int) -> Tensor:
        """The latents with the noise from step `start` on."""
        cut = self.teacher(Guidance()).layout.offset(start)
        return torch.cat([latents_BLC[:, :cut], self.noise_BLC[:, cut:]], dim=1)

    def sample(self, moves: Sequence[Jump | Redraw], guidance: Guidance | None = None) -> Tensor:
        """What the sampler makes of the moves; the noise where there are none."""
        teacher = self.teacher(guidance or Guidance())
        plan, draw = Schedule(tuple(moves)), RecordedNoise(self.noise_BLC)
        return generate(plan, self.student, teacher, self.condition, draw)


def check_passes(fixture: Fixture, given: Distilled) -> Iterator[Triple]:
    """`fwd_*`: one pass over the arbitrary latents `fwd_x`, and the noise put back into them."""
    if "fwd_x" not in fixture:
        return
    latents_BLC = fixture["fwd_x"]
    numbers = {int(match[1]) for name in fixture if (match := re.match(r"fwd_(?:perturbed_)?t(\d+)", name))}
    for start in sorted(numbers):
        yield from _pass(fixture, f"fwd_t{start}", given.forward(latents_BLC, start))
        perturbed_BLC = given.perturbed(latents_BLC, start)
        names = (f"fwd_perturbed_t{start}", f"fwd_t{start}_perturbed")
        yield from compared(fixture, dict.fromkeys(names, perturbed_BLC))
    if "fwd_tmixed" in fixture:
        start_B = fixture["fwd_tmixed"].long()
        yield from _pass(fixture, "fwd_tmixed", given.forward(latents_BLC, start_B))
        rows = [given.perturbed(latents_BLC, int(start))[row] for row, start in enumerate(start_B)]
        yield from compared(fixture, {"fwd_tmixed_perturbed": torch.stack(rows)})


def check_few_steps(fixture: Fixture, given: Distilled) -> Iterator[Triple]:
    """`few{i}_*`: the i-th of `config.fewstep`, a list of starts and the split between the two heads."""
    for i, recipe in enumerate(fixture.config.get("fewstep", [])):
        jumps = [Jump(start, recipe["split"]) for start in recipe["t_list"]]
        seq_BLC = given.noise_BLC
        for j, jump in enumerate(jumps):
            state_BLC = given.perturbed(seq_BLC, jump.start)
            yield from _pass(fixture, f"few{i}_step{j}", given.forward(state_BLC, jump.start))
            seq_BLC = given.sample(jumps[: j + 1])
            yield from compared(fixture, {f"few{i}_step{j}_seq": seq_BLC})
        yield from compared(fixture, {f"few{i}_image": given.image(seq_BLC)})


def check_combined(fixture: Fixture, given: Distilled) -> Iterator[Triple]:
    """`comb{i}_*`: the i-th of `config.combine`, where the teacher emits steps start..t_list[1]-1 greedily."""
    for i, recipe in enumerate(fixture.config.get("combine", [])):
        for name, got in _combined(given, recipe).items():
            yield from compared(fixture, {f"comb{i}_{name}": got})
        name = f"comb{i}_teacher_cfglogits"
        if name in fixture:
            yield name, as_logits(_teacher_log_probs(given, recipe), fixture[name]), fixture[name]


def _combined(given: Distilled, recipe: Mapping[str, Any]) -> dict[str, Tensor]:
    guidance = Guidance(recipe["cfg"], top_k=1)
    teacher = given.teacher(guidance)
    codes_VC, layout = teacher.tokenizer.codebook, teacher.layout
    first, last, head = _moves(recipe)
    cut, end = layout.offset(first), layout.offset(last)
    first_BLC = given.sample(head)
    tokens_BL = nearest_code(first_BLC, codes_VC)
    upto_BLC = given.sample([*head, Redraw(first, last)], guidance)
    state_BLC = given.perturbed(upto_BLC, last)
    tail = [Jump(last, recipe["split"])] if last < layout.n_steps else []
    seq_BLC = given.sample([*head, Redraw(first, last), *tail], guidance)
    return {
        "first_seq": first_BLC,
        "prefix_idx": tokens_BL[:, :cut],
        "teacher_in": codes_VC[tokens_BL] if head else given.noise_BLC,
        "teacher_idx": nearest_code(upto_BLC[:, cut:end], codes_VC),
        "teacher_seq": upto_BLC[:, :end],
        "final_x_in": state_BLC,
        "final_tokens": given.forward(state_BLC, last).latents_BLC,
        "final_seq": seq_BLC,
        "image": given.image(seq_BLC),
    }


def _moves(recipe: Mapping[str, Any]) -> tuple[int, int, list[Jump]]:
    """The teacher's first step, the one after its last, and the student's moves before."""
    first, (start, last) = recipe["start"], recipe["t_list"]
    return first, last, [Jump(start, recipe["split"])] if first else []


def _teacher_log_probs(given: Distilled, recipe: Mapping[str, Any]) -> Tensor:
    """(B, l, V): the teacher's distributions of its steps, guided and unfiltered, as its cursor tells them."""
    teacher = given.teacher(Guidance(recipe["cfg"]))
    first, last, head = _moves(recipe)
    prefix_Bl = nearest_code(
        given.sample(head)[:, : teacher.layout.offset(first)], teacher.tokenizer.codebook
    )
    cursor, log_probs = teacher.start(given.condition, prefix_Bl if first else None), []
    for _ in range(first, last):
        log_probs.append(cursor.log_probs())
        cursor.accept(log_probs[-1].argmax(-1))
    return torch.cat(log_probs, dim=1)


def _pass(fixture: Fixture, name: str, made: Prediction) -> Iterator[Triple]:
    yield from compared(fixture, {f"{name}_tokens": made.latents_BLC})
    if made.logits_BLV is not None:
        yield from compared(fixture, {f"{name}_logits": made.logits_BLV})
