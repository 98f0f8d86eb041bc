"""What a teacher's cursor promises (`protocols.Cursor`): it walks the steps, and agrees with the one pass.

Shape legend: B batch, L tokens, l tokens of one step or of a prefix, V codes.
"""

import torch
from torch import Tensor

from ardistill.testing.conformity import Case, Check, expect
from ardistill.testing.looking import expect_tensor, variation
from ardistill.testing.subjects import TeacherSubject
from ardistill.testing.teachers import SAME, expect_distributions


def the_cursor_walks_the_layout(subject: TeacherSubject, case: Case) -> None:
    """A cursor begins at step 0, gives (B, l, V) float32 for each step, and accept() moves it on by one."""
    teacher, tokens_BL = subject.teacher, subject.tokens(case)
    n_codes = len(teacher.tokenizer.codebook)
    with torch.no_grad():
        cursor = teacher.start(subject.condition(case))
        for step, size in enumerate(teacher.layout.sizes):
            expect(cursor.step == step, f"cursor.step is {cursor.step} after {step} steps")
            log_p_BlV = cursor.log_probs()
            what = f"cursor.log_probs() at step {step}"
            expect_tensor(log_p_BlV, (case.batch, size, n_codes), torch.float32, subject.device, what)
            expect_distributions(log_p_BlV, what)
            again = variation(cursor.log_probs(), log_p_BlV)
            expect(again == 0, f"{what}, asked again, is another distribution by {again:.3g}")
            cursor.accept(tokens_BL[:, teacher.layout.span(step)])
    expect(cursor.step == subject.n_steps, f"cursor.step is {cursor.step} after all {subject.n_steps} steps")


def the_cursor_agrees_with_one_pass(subject: TeacherSubject, case: Case) -> None:
    """At every step the cursor's distributions are those of log_probs() on the tokens it has accepted."""
    tokens_BL = subject.tokens(case)
    _expect_walk(subject, case, tokens_BL, subject.log_probs(case, tokens_BL), 0, "one pass")


def a_prefix_is_as_if_stepped(subject: TeacherSubject, case: Case) -> None:
    """start(condition, prefix) is start(condition) with the prefix accepted, whatever step the prefix ends."""
    tokens_BL, given = subject.tokens(case), case.step + 1
    log_p_BLV = torch.cat(_walk(subject, case, tokens_BL, 0), dim=1)
    _expect_walk(subject, case, tokens_BL, log_p_BLV, given, "stepping")


def _expect_walk(
    subject: TeacherSubject, case: Case, tokens_BL: Tensor, log_p_BLV: Tensor, given: int, other: str
) -> None:
    layout = subject.teacher.layout
    for step, found_BlV in enumerate(_walk(subject, case, tokens_BL, given), given):
        apart = variation(found_BlV, log_p_BLV[:, layout.span(step)])
        said = f"a total variation of {apart:.3g} from {other} at step {step}"
        expect(apart <= SAME, f"{said}, after a prefix of {given} steps" if given else said)


def _walk(subject: TeacherSubject, case: Case, tokens_BL: Tensor, given: int) -> list[Tensor]:
    """The cursor's distributions along the tokens, the first `given` steps as a prefix."""
    layout, found = subject.teacher.layout, []
    prefix_Bl = tokens_BL[:, : layout.offset(given)] if given else None
    with torch.no_grad():
        cursor = subject.teacher.start(subject.condition(case), prefix_Bl)
        expect(cursor.step == given, f"cursor.step is {cursor.step} after a prefix of {given} steps")
        for step in range(given, layout.n_steps):
            found.append(cursor.log_probs())
            cursor.accept(tokens_BL[:, layout.span(step)])
    return found


def a_prefix_ends_a_step(subject: TeacherSubject, case: Case) -> None:
    """start() refuses a prefix that ends inside of a step."""
    layout, tokens_BL = subject.teacher.layout, subject.tokens(case)
    if layout.sizes[case.step] == 1:
        return
    cut = layout.offset(case.step) + 1
    try:
        with torch.no_grad():
            subject.teacher.start(subject.condition(case), tokens_BL[:, :cut]).log_probs()
    except Exception:  # whatever it raises
        return
    expect(holds=False, found=f"a cursor after {cut} tokens, with steps of {layout.sizes}")


CHECKS: tuple[Check[TeacherSubject], ...] = (
    Check(the_cursor_walks_the_layout),
    Check(the_cursor_agrees_with_one_pass),
    Check(a_prefix_is_as_if_stepped),
    Check(a_prefix_ends_a_step),
)
