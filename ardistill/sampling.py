"""From distributions to tokens: the teacher's own loop, few-step schedules with their teacher's share, the baseline.

Shape legend: B batch, L tokens, l tokens of one step, N any leading shape, V codes, C code width, n classes.
"""

import re
from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from ardistill.errors import ConfigError
from ardistill.flow import nearest_code
from ardistill.protocols import ARTeacher, Condition, Draw, Prediction, StepLayout, Student
from ardistill.schedules import Jump, Redraw, Schedule
from ardistill.wording import shown


def categorical(log_p_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """(N,) int64: one token each by inverting the cumulative distribution at `uniform_N` in [0, 1).

    One uniform number a token makes a sample a function of its own draw: no batch, order or device enters.
    """
    cumulative_NV = log_p_NV.exp().cumsum(-1)
    reach_N1 = (uniform_N * cumulative_NV[..., -1]).unsqueeze(-1)
    tokens_N = torch.searchsorted(cumulative_NV, reach_N1, right=True).squeeze(-1)
    last_N = log_p_NV.isfinite().int().cumsum(-1).argmax(-1)
    return torch.minimum(tokens_N, last_N)


def top_k(logits_NV: Tensor, k: int) -> Tensor:
    """Removes what is strictly below the k-th largest; ties with it stay (VAR's rule, and LlamaGen's)."""
    threshold_N1 = logits_NV.topk(min(k, logits_NV.shape[-1]), dim=-1).values[..., -1:]
    return logits_NV.masked_fill(logits_NV < threshold_N1, -torch.inf)


@torch.no_grad()
def teacher_tokens(
    teacher: ARTeacher,
    condition: Condition,
    uniform_BL: Tensor,
    *,
    prefix_tokens_Bl: Tensor | None = None,
    until: int | None = None,
) -> Tensor:
    """(B, l) int64: the prefix and what the teacher emits after it, up to step `until` (default: to the end)."""
    cursor = teacher.start(condition, prefix_tokens_Bl)
    steps = [] if prefix_tokens_Bl is None else [prefix_tokens_Bl]
    for step in range(cursor.step, teacher.layout.n_steps if until is None else until):
        tokens_Bl = categorical(cursor.log_probs(), uniform_BL[:, teacher.layout.span(step)])
        cursor.accept(tokens_Bl)
        steps.append(tokens_Bl)
    return torch.cat(steps, dim=1)


def schedule(words: str, student: Student, layout: StepLayout) -> Schedule:
    """The schedule that `steps=...` names.

    One that the student brings by that name. Else, a number k: the student's first pass, then the teacher redraws the
    last k-1 steps (DD2, algorithm 4) or, where the student has learned to jump from later states, k jumps of its own.
    `pre-trained-n-m`: the student's pass, then the teacher emits steps n..m-1 (from 1, as DD1 counts), then the
    student's jump from there if it knows one. A student without jumps has its own schedules alone, and 1 is the first.
    """
    if words in student.schedules:
        return student.schedules[words]
    if student.jumps:
        return by_rule(words, student.jumps, layout)
    if words == "1":
        return next(iter(student.schedules.values()))
    raise ConfigError(
        f"steps={shown(words)} is not possible here: this student is sampled by {', '.join(student.schedules)} only"
    )


def recipes(told: Sequence[str], jumps: Sequence[Jump], layout: StepLayout) -> Mapping[str, Schedule]:
    """Schedules whose split is their own, told as STEPS:SPLIT, e.g. "pre-trained-4-6:8"; `jumps` say the starts."""
    made = {}
    for recipe in told:
        words, _, split = recipe.rpartition(":")
        if not words or not re.fullmatch(r"[0-9]{1,6}", split):
            raise ConfigError(
                f"recipe {shown(recipe)} is not of the form STEPS:SPLIT, e.g. pre-trained-4-6:8"
            )
        if words in made:
            raise ConfigError(f"recipes name steps={words} twice; give each schedule one split")
        if int(split) > layout.n_steps:
            raise ConfigError(
                f"recipe {shown(recipe)} splits beyond this teacher's {layout.n_steps} steps; give a smaller split"
            )
        made[words] = by_rule(words, [attrs.evolve(jump, split=int(split)) for jump in jumps], layout)
    return made


def by_rule(words: str, jumps: Sequence[Jump], layout: StepLayout) -> Schedule:
    """The schedule that `words` name for a student that has learned `jumps` and brings no schedule of its own."""
    n_steps, jumps = layout.n_steps, tuple(jumps)
    if re.fullmatch(r"[0-9]{1,6}", words):
        passes = int(words)
        if 1 <= passes <= len(jumps):
            return Schedule(jumps[:passes], words)
        if len(jumps) == 1 and 2 <= passes <= n_steps:
            return Schedule((jumps[0], Redraw(n_steps - passes + 1, n_steps)), words)
        most = n_steps if len(jumps) == 1 else len(jumps)
        raise ConfigError(f"steps={words} is not possible here: this student takes 1 to {most} steps")
    if match := re.fullmatch(r"pre-trained-([0-9]{1,6})-([0-9]{1,6})", words):
        first, last = int(match[1]) - 1, int(match[2]) - 1
        if not 0 <= first < last <= n_steps:
            raise ConfigError(
                f"steps={words} is outside the teacher's steps; expected 1 <= n < m <= {n_steps + 1}"
            )
        tail = tuple(jump for jump in jumps if jump.start == last)
        if last < n_steps and not tail:
            known = ", ".join(str(jump.start + 1) for jump in jumps)
            raise ConfigError(
                f"steps={words} hands back to the student at step {last + 1}, and it jumps from {known} only; "
                f"end with {n_steps + 1} to let the teacher finish"
            )
        head = jumps[:1] if first else ()
        return Schedule((*head, Redraw(first, last), *tail), words)
    raise ConfigError(f"steps={shown(words)} is not a schedule; give a number of steps, or pre-trained-n-m")


def read_out(prediction: Prediction, jump: Jump, layout: StepLayout, codes_VC: Tensor) -> Tensor:
    """(B, L, C): codes of the largest logits from the jump's start up to its split, the student's latents elsewhere."""
    begin, end = layout.offset(jump.start), layout.offset(jump.split)
    if end <= begin or prediction.logits_BLV is None:
        return prediction.latents_BLC
    codes_BlC = codes_VC[prediction.logits_BLV[:, begin:end].argmax(-1)]
    latents_BLC = prediction.latents_BLC
    return torch.cat([latents_BLC[:, :begin], codes_BlC, latents_BLC[:, end:]], dim=1)


@torch.no_grad()
def generate(
    plan: Schedule, student: Student, teacher: ARTeacher, condition: Condition, draw: Draw
) -> Tensor:
    """(B, L, C) latents to decode, from the draw's streams "noise" and, for the teacher's steps, "redraw"."""
    noise_BLC = draw.normal("noise", teacher.layout.n_tokens, teacher.tokenizer.codebook.shape[1])
    uniform_BL = draw.uniform("redraw", teacher.layout.n_tokens) if redraws(plan) else None
    return follow(plan, student, teacher, condition, noise_BLC, uniform_BL)


def redraws(plan: Schedule) -> bool:
    """Whether the teacher emits any of its steps; else the noise alone decides what is drawn."""
    return any(isinstance(move, Redraw) for move in plan.moves)


@torch.no_grad()
def follow(
    plan: Schedule,
    student: Student,
    teacher: ARTeacher,
    condition: Condition,
    noise_BLC: Tensor,
    uniform_BL: Tensor | None = None,
) -> Tensor:
    """(B, L, C) latents to decode, of given noise; a plan with `redraws` needs `uniform_BL` in [0, 1) for them."""
    layout, codes_VC = teacher.layout, teacher.tokenizer.codebook
    latents_BLC = noise_BLC
    for move in plan.moves:
        if isinstance(move, Jump):
            cut = layout.offset(move.start)
            state_BLC = torch.cat([latents_BLC[:, :cut], noise_BLC[:, cut:]], dim=1)
            latents_BLC = read_out(student.jump(state_BLC, condition, move.start), move, layout, codes_VC)
        else:
            if uniform_BL is None:
                raise ValueError(
                    f"steps={plan.name} lets the teacher draw, and there are no numbers to draw from"
                )
            cut, end = layout.offset(move.first), layout.offset(move.last)
            prefix_Bl = nearest_code(latents_BLC[:, :cut], codes_VC) if cut else None
            tokens_Bl = teacher_tokens(
                teacher, condition, uniform_BL, prefix_tokens_Bl=prefix_Bl, until=move.last
            )
            # The teacher continued the snapped prefix, so the sample keeps it snapped (DD1's sampler does the same).
            latents_BLC = torch.cat([codes_VC[tokens_Bl], latents_BLC[:, end:]], dim=1)
    return latents_BLC


@attrs.frozen(eq=False)
class Marginals:
    """`onestep*`: every token drawn on its own from its class's and position's frequencies (DD1, proposition 3.1).

    The best that a one-step parallel predictor of distributions can do.
    """

    log_p_nLV: Tensor

    @classmethod
    def of(cls, tokens_BL: Tensor, labels_B: Tensor, n_classes: int, n_codes: int) -> "Marginals":
        counts_nLV = torch.zeros(n_classes, tokens_BL.shape[1], n_codes)
        one_BL = torch.ones(tokens_BL.shape)
        positions_BL = torch.arange(tokens_BL.shape[1]).expand_as(tokens_BL)
        counts_nLV.index_put_(
            (labels_B.cpu()[:, None].expand_as(tokens_BL), positions_BL, tokens_BL.cpu()),
            one_BL,
            accumulate=True,
        )
        return cls(
            counts_nLV.div_(counts_nLV.sum(-1, keepdim=True)).log_()
        )  # in place: the table may be large

    def tokens(self, labels_B: Tensor, uniform_BL: Tensor) -> Tensor:
        """(B, L) int64."""
        return categorical(self.log_p_nLV.to(uniform_BL.device)[labels_B], uniform_BL)
