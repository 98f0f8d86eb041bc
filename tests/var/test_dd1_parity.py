"""DD1's student of VAR against numbers recorded upstream: its passes, few steps, and steps of the teacher's."""

import attrs
import pytest
import torch
from ardistill_var.config import PATCH_NUMS_256, VARConfig
from ardistill_var.dd1 import VARDD1
from ardistill_var.teacher import VARTeacher
from torch import Tensor

from ardistill.flow import nearest_code
from ardistill.protocols import Condition, Guidance, Jump, Redraw, Schedule
from ardistill.sampling import generate, read_out, schedule
from ardistill.schedules import Jumps
from tests.golden import Fixture, check_full_keys, close, load
from tests.var.models import golden_teacher, tiny_config

FEW = range(4)
COMBINED = range(3)


class Recorded:
    """A `Draw` of the fixture's noise; the teacher is greedy, so its numbers decide nothing."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise

    def normal(self, name: str, *shape: int) -> Tensor:
        assert (name, shape) == ("noise", self.noise.shape[1:])
        return self.noise

    def uniform(self, name: str, *shape: int) -> Tensor:
        assert name == "redraw"
        return torch.full((len(self.noise), *shape), 0.5)


@pytest.fixture(scope="module")
def golden() -> Fixture:
    return load("dd_var")


def student_of(golden: Fixture, starts: tuple[int, ...], split: int, recipes: tuple[str, ...] = ()) -> VARDD1:
    student = VARDD1(tiny_config(shared_aln=False), Jumps(starts=starts, split=split, recipes=recipes))
    golden.fill(student)
    return student.eval()


@pytest.fixture(scope="module")
def student(golden: Fixture) -> VARDD1:
    return student_of(golden, (0, 1, 2, 3), 2)


def teacher_of(cfg: float = 0.0, top_k: int = 1) -> VARTeacher:
    return golden_teacher(shared_aln=False, guidance=Guidance(cfg, top_k=top_k), joint_prefix=True)


def condition(golden: Fixture) -> Condition:
    return Condition(golden["label_B"])


def perturbed(golden: Fixture, student: VARDD1, start: int) -> Tensor:
    cut = student.layout.offset(start)
    return torch.cat([golden["fwd_x"][:, :cut], golden["noise"][:, cut:]], dim=1)


def test_mask_and_levels(golden: Fixture, student: VARDD1) -> None:
    assert torch.equal(student.attn_bias_for_masking[0, 0] == 0, golden["dd_attn_bias"].bool())
    assert torch.equal(student.lvl_1L, golden["dd_lvl_1L"])


@torch.no_grad()
@pytest.mark.parametrize("start", range(4))
def test_one_pass(golden: Fixture, student: VARDD1, start: int) -> None:
    made = student(golden["fwd_x"], Condition(golden["label_B"]), start)
    close(made.latents_BLC, golden[f"fwd_t{start}_tokens"])
    if start in (0, 2):
        close(made.logits_BLV, golden[f"fwd_t{start}_logits"])


@torch.no_grad()
def test_a_start_per_row(golden: Fixture, student: VARDD1) -> None:
    starts = golden["fwd_tmixed"].long()
    assert len(starts.unique()) == len(starts)
    made = student(golden["fwd_x"], Condition(golden["label_B"]), starts)
    close(made.latents_BLC, golden["fwd_tmixed_tokens"])
    close(made.logits_BLV, golden["fwd_tmixed_logits"])


def test_states_on_the_way(golden: Fixture, student: VARDD1) -> None:
    """Noise from a scale on: what `generate` puts before a jump."""
    mixed = zip(golden["fwd_tmixed"].long().tolist(), golden["fwd_tmixed_perturbed"], strict=True)
    states = [(2, row, i) for i, row in enumerate(golden["fwd_perturbed_t2"])]
    states += [(start, row, i) for i, (start, row) in enumerate(mixed)]
    for start, row, i in states:
        cut = student.layout.offset(start)
        assert torch.equal(row, torch.cat([golden["fwd_x"][i, :cut], golden["noise"][i, cut:]]))


@torch.no_grad()
@pytest.mark.parametrize("case", FEW)
def test_few_steps(golden: Fixture, case: int) -> None:
    told = golden.config["fewstep"][case]
    starts, split = tuple(told["t_list"]), told["split"]
    student, teacher = student_of(golden, starts, split), teacher_of()
    for i, jump in enumerate(student.jumps):
        done = generate(
            Schedule(student.jumps[:i]), student, teacher, condition(golden), Recorded(golden["noise"])
        )
        cut = student.layout.offset(jump.start)
        state = torch.cat([done[:, :cut], golden["noise"][:, cut:]], dim=1)
        raw = student(state, Condition(golden["label_B"]), jump.start)
        close(raw.latents_BLC, golden[f"few{case}_step{i}_tokens"])
        if f"few{case}_step{i}_logits" in golden:
            close(raw.logits_BLV, golden[f"few{case}_step{i}_logits"])
        made = student.jump(state, condition(golden), jump.start)
        close(
            read_out(made, jump, teacher.layout, teacher.tokenizer.codebook), golden[f"few{case}_step{i}_seq"]
        )
    plan = schedule(str(len(starts)), student, teacher.layout)
    latents = generate(plan, student, teacher, condition(golden), Recorded(golden["noise"]))
    close(latents, golden[f"few{case}_step{len(starts) - 1}_seq"])
    close((teacher.tokenizer.decode(latents) + 1) / 2, golden[f"few{case}_image"])


@torch.no_grad()
@pytest.mark.parametrize("case", COMBINED)
def test_steps_of_the_teachers(golden: Fixture, case: int) -> None:
    """The path of a user: a schedule's name, a student with recipes, a greedy teacher with a joint prefix."""
    told = golden.config["combine"][case]
    first, last = told["start"], told["t_list"][1]
    words = f"pre-trained-{first + 1}-{last + 1}"
    student = student_of(golden, (0, last), 0, recipes=(f"{words}:{told['split']}",))
    teacher, drawn = teacher_of(told["cfg"]), Recorded(golden["noise"])
    plan = schedule(words, student, teacher.layout)
    head = (Jump(0, told["split"]),) if first else ()
    assert plan.moves == (*head, Redraw(first, last), Jump(last, told["split"]))

    def until(moves: int) -> Tensor:
        return generate(
            attrs.evolve(plan, moves=plan.moves[:moves]), student, teacher, condition(golden), drawn
        )

    codes, layout = teacher.tokenizer.codebook, teacher.layout
    given = codes[nearest_code(until(1), codes)] if first else golden["noise"]
    close(given, golden[f"comb{case}_teacher_in"])
    begin, end = layout.offset(first), layout.offset(last)
    redrawn = until(len(plan.moves) - 1)[:, :end]
    close(redrawn, golden[f"comb{case}_teacher_seq"])
    assert torch.equal(nearest_code(redrawn, codes)[:, begin:], golden[f"comb{case}_teacher_idx"])
    state = torch.cat([redrawn, golden["noise"][:, end:]], dim=1)
    close(student(state, Condition(golden["label_B"]), last).latents_BLC, golden[f"comb{case}_final_tokens"])
    latents = until(len(plan.moves))
    close(latents, golden[f"comb{case}_final_seq"])
    close((teacher.tokenizer.decode(latents) + 1) / 2, golden[f"comb{case}_image"])


@pytest.mark.parametrize("case", COMBINED)
def test_the_teachers_logits_after_a_prefix(golden: Fixture, case: int) -> None:
    told = golden.config["combine"][case]
    teacher = teacher_of(told["cfg"], top_k=0)
    codes, layout = teacher.tokenizer.codebook, teacher.layout
    prefix = nearest_code(golden[f"comb{case}_teacher_in"], codes)[:, : layout.offset(told["start"])]
    cursor, parts = teacher.start(condition(golden), prefix), []
    for size in layout.sizes[told["start"] : told["t_list"][1]]:
        parts.append(cursor.log_probs())
        tokens = parts[-1].argmax(-1)
        assert tokens.shape[1] == size
        cursor.accept(tokens)
    close(torch.cat(parts, dim=1), golden[f"comb{case}_teacher_cfglogits"].log_softmax(-1))


@pytest.mark.parametrize("preset", ["d16", "d20"])
def test_released_keys(preset: str) -> None:
    with torch.device("meta"):
        student = VARDD1(VARConfig(depth=int(preset[1:])), Jumps())
    check_full_keys(f"dd_var_{preset}", student)


def test_the_largest_has_the_published_size() -> None:
    with torch.device("meta"):
        student = VARDD1(VARConfig(depth=24, patch_nums=PATCH_NUMS_256), Jumps())
    assert round(sum(p.numel() for p in student.parameters()) / 1e6, 2) == 1092.48
