"""DD1's student of VAR: its mask and levels, single passes, few-step samples, samples with teacher steps.

Legend: B batch, S = 1 + L slots. Recorded from distilled_decoding VAR/models/dd.py:DD_Model.
"""

from collections.abc import Iterator
from functools import cache

from ardistill_var.dd1 import VARDD1
from ardistill_var.teacher import VARTeacher
from ardistill_var.transformer import VAR
from golden import Fixture, fill

from ardistill.protocols import Condition, Guidance
from ardistill.schedules import Jumps
from parity_checks.calls import Triple, compared
from parity_checks.dd1 import Distilled, check_combined, check_few_steps, check_passes
from parity_checks.var_models import Config, golden_tokenizer, transformer_config


def build(info: Config) -> VARDD1:
    """The student that a json describes."""
    return VARDD1(transformer_config(info["config"], info["keys"]), Jumps())


def check(fixture: Fixture) -> Iterator[Triple]:
    """Every array of a student's fixture."""
    student = build(fixture.info)
    fixture.fill(student)
    student.eval()
    mask_SS = (student.attn_bias_for_masking[0, 0] == 0).long()
    yield from compared(fixture, {"dd_attn_bias": mask_SS, "dd_lvl_1L": student.lvl_1L})
    labels_B, tokenizer = fixture["label_B"], golden_tokenizer(fixture)
    model = _teacher(fixture)

    @cache
    def teacher(guidance: Guidance) -> VARTeacher:
        return VARTeacher(model, tokenizer, guidance, joint_prefix=True)

    given = Distilled(
        student,
        teacher,
        Condition(labels_B),
        fixture["noise"],
        forward=lambda latents_BLC, start: student(latents_BLC, Condition(labels_B), start),
        image=lambda latents_BLC: (tokenizer.decode(latents_BLC) + 1) / 2,
    )
    yield from check_passes(fixture, given)
    yield from check_few_steps(fixture, given)
    yield from check_combined(fixture, given)


def _teacher(fixture: Fixture) -> VAR:
    """The `var` model the student learned from; what the json does not say of it is as for the student."""
    config = {key: value for key, value in fixture.config.items() if key in ("patch_nums", "num_classes")}
    model = VAR(transformer_config(config | fixture.config.get("teacher", {}), fixture.info["keys"]))
    fill(model, fixture.info.get("teacher_weight_seed", 0))
    return model.eval()
