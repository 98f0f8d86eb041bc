"""What DD1's student of VAR promises, on a small random model."""

import json

import attrs
import pytest
import torch
from ardistill_var.config import VARConfig
from ardistill_var.dd1 import VARDD1
from ardistill_var.dd1_loading import rebuild
from ardistill_var.dd1_settings import PRESET_DEPTHS, Jumps, VARDD1Settings
from ardistill_var.initialise import initialise
from ardistill_var.structure import STRUCTURAL
from ardistill_var.transformer import VAR
from hypothesis import given
from hypothesis import strategies as st

from ardistill.config.students import student_trees
from ardistill.errors import ConfigError
from ardistill.plugins import discover
from ardistill.protocols import Condition, Jump, Redraw, StepLayout, Student
from ardistill.sampling import schedule
from tests.var.models import small_student, small_teacher

LABELS = Condition(torch.tensor([0, 4, 2]))
TEACHER = small_teacher()
LAYOUT = TEACHER.layout
STUDENT = small_student(TEACHER, starts=(0, 1, 2), split=1)

positions = st.integers(0, LAYOUT.n_tokens - 1)
starts = st.integers(0, LAYOUT.n_steps - 1)


def noise(seed: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, LAYOUT.n_tokens, 6, generator=torch.Generator().manual_seed(seed))


@given(starts, st.integers(0, 1000))
def test_what_lies_before_the_start_passes_untouched(start: int, seed: int) -> None:
    state = noise(seed)
    made = STUDENT.jump(state, LABELS, start)
    cut = LAYOUT.offset(start)
    assert torch.equal(made.latents_BLC[:, :cut], state[:, :cut])
    assert (made.latents_BLC[:, cut:] - state[:, cut:]).abs().amin(-1).gt(0).all()
    assert made.logits_BLV.dtype == torch.float32


@given(positions, starts)
def test_a_token_tells_itself_and_later_scales_alone(position: int, start: int) -> None:
    with torch.no_grad():
        before = STUDENT(noise(1), LABELS, start)
        changed = noise(1)
        changed[:, position] += 1.0
        after = STUDENT(changed, LABELS, start)
    scale = LAYOUT.step_of_token()
    hears = scale > scale[position]
    hears[position] = True
    for a, b in ((before.latents_BLC, after.latents_BLC), (before.logits_BLV, after.logits_BLV)):
        moved = (a - b).abs().amax((0, 2))
        assert moved[hears].min() > 1e-5
        assert moved[~hears].max() == 0 if (~hears).any() else True


@given(st.lists(starts, min_size=3, max_size=3), st.integers(0, 1000))
def test_a_start_per_row_is_each_rows_own(rows: list[int], seed: int) -> None:
    with torch.no_grad():
        together = STUDENT(noise(seed), LABELS, torch.tensor(rows))
        for i, start in enumerate(rows):
            alone = STUDENT(noise(seed)[i : i + 1], LABELS[i : i + 1], start)
            torch.testing.assert_close(together.latents_BLC[i], alone.latents_BLC[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(together.logits_BLV[i], alone.logits_BLV[0], atol=1e-5, rtol=1e-5)


def test_the_start_is_heard_in_every_layer() -> None:
    for layer in range(len(STUDENT.layerwise_n_d_embed)):
        deaf = small_student(TEACHER)
        with torch.no_grad():
            before = deaf(noise(2), LABELS, 1).logits_BLV
            deaf.layerwise_n_d_embed[layer].bias.add_(
                torch.randn(32, generator=torch.Generator().manual_seed(0))
            )
            after = deaf(noise(2), LABELS, 1).logits_BLV
        assert (before - after).abs().max() > 1e-4


def test_gradients_reach_every_parameter() -> None:
    student = small_student(TEACHER)
    made = student(noise(3), LABELS, torch.tensor([0, 1, 2]))
    (made.latents_BLC.square().sum() + made.logits_BLV.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in student.parameters())
    assert all(p.grad is None for p in TEACHER.parameters())


@pytest.mark.parametrize("shared_aln", [False, True])
def test_it_starts_as_the_teacher_with_a_row_more(shared_aln: bool) -> None:
    teacher = small_teacher(shared_aln=shared_aln)
    torch.manual_seed(1)
    student = VARDD1.of(teacher.model, seed=5)
    torch.manual_seed(2)
    again, other = VARDD1.of(teacher.model, seed=5), VARDD1.of(teacher.model, seed=6)
    made, theirs = student.state_dict(), teacher.model.state_dict()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in made.items())
    fresh = {key for key, value in made.items() if not torch.equal(value, other.state_dict()[key])}
    zero = {key for key in made if key.startswith(("layerwise", "final_layer")) and key.endswith("bias")}
    assert all(made[key].eq(0).all() for key in zero)
    assert fresh == {"lvl_embed.weight", "pos_1LC", "n_d_embed.weight"} | {
        key for key in made if key.startswith(("layerwise", "final_layer")) and key not in zero
    }
    for key, value in theirs.items():
        if key.rpartition(".")[2] in STRUCTURAL:
            continue
        ours = made[key]
        if key in ("lvl_embed.weight", "pos_1LC"):
            rows = ours.view(-1, ours.shape[-1])
            kept = torch.cat([rows[:1], rows[2:]])
            assert torch.equal(kept, value.view(-1, value.shape[-1]))
            assert rows[1].std() > 0
        else:  # class_emb among them: the released code draws over its row 1
            assert torch.equal(ours, value)
    theirs_at = {tensor.data_ptr() for tensor in [*teacher.parameters(), *teacher.buffers()]}
    assert not theirs_at & {tensor.data_ptr() for tensor in [*student.parameters(), *student.buffers()]}
    assert all(p.requires_grad for p in student.parameters())


def test_fresh_weights_have_the_released_spread() -> None:
    teacher = small_teacher(patch_nums=(1, 2))
    teacher.model = VAR(VARConfig(depth=4, patch_nums=(1, 2), vocab=24, code_width=6, num_classes=5))
    initialise(teacher.model, seed=0)
    state, width = VARDD1.of(teacher.model, seed=0).state_dict(), 256
    for layer in range(5):
        assert state[f"layerwise_n_d_embed.{layer}.weight"].std() == pytest.approx(
            0.88 / (3 * width) ** 0.5, rel=0.02
        )
    assert state["final_layer_conti.scale_shift_table"].std() == pytest.approx(width**-0.5, rel=0.1)
    assert state["n_d_embed.weight"].abs().max() <= 2 / (3 * width) ** 0.5


def test_it_is_rebuilt_from_what_json_keeps() -> None:
    student = small_student(TEACHER, starts=(0, 2), split=1, recipes=("pre-trained-2-3:2",))
    twin = rebuild(json.loads(json.dumps(student.spec.settings)), TEACHER)
    assert all(parameter.is_meta for parameter in twin.parameters())
    assert not any(buffer.is_meta for buffer in twin.buffers())
    twin.load_state_dict(student.state_dict(), assign=True)
    assert twin.jumps == student.jumps == (Jump(0, 1), Jump(2, 1))
    assert twin.schedules == student.schedules
    got, want = (model.jump(noise(4), LABELS, 2).latents_BLC for model in (twin, student))
    assert torch.equal(got, want)


def test_recipes_have_their_own_split() -> None:
    student = small_student(TEACHER, starts=(0, 2), split=1, recipes=("pre-trained-2-3:2",))
    protocol: object = student
    assert isinstance(protocol, Student)
    assert schedule("2", student, LAYOUT).moves == (Jump(0, 1), Jump(2, 1))
    assert schedule("pre-trained-2-3", student, LAYOUT).moves == (Jump(0, 2), Redraw(1, 2), Jump(2, 2))
    assert schedule("pre-trained-1-3", student, LAYOUT).moves == (Redraw(0, 2), Jump(2, 1))


@pytest.mark.parametrize(
    ("jumps", "message"),
    [
        ({"starts": (1,)}, "begin with 0"),
        ({"starts": (0, 2, 2)}, "begin with 0"),
        ({"starts": ()}, "nothing must begin with 0"),
        ({"starts": (0, 3)}, "starts=0,3 .* beyond this student's 3 scales"),
        ({"split": 4}, "split=4 is beyond this student's 3 scales"),
        ({"recipes": ("pre-trained-2-3",)}, "STEPS:SPLIT"),
        ({"starts": (0, 1), "recipes": ("pre-trained-2-3:2",)}, "it jumps from 1, 2 only; end with 4"),
    ],
)
def test_refusals(jumps: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VARDD1(TEACHER.model.config, Jumps(**jumps))


def test_the_first_scale_must_be_one_token() -> None:
    with pytest.raises(ConfigError, match="first scale is one token, not 4"):
        VARDD1(attrs.evolve(TEACHER.model.config, patch_nums=(2, 4)), Jumps())


def test_presets_are_the_published_settings() -> None:
    """Steps of the teacher's count from 1 in `steps=`; the published figures name 3, 4 and 6 passes."""
    layout = StepLayout(VARConfig().step_sizes)
    presets = VARDD1Settings.presets()
    assert set(presets) == set(PRESET_DEPTHS) == set(VARDD1Settings.teacher_words())
    for name, values in presets.items():
        with torch.device("meta"):
            student = VARDD1(
                VARConfig(depth=PRESET_DEPTHS[name]),
                Jumps(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}),
            )
        assert schedule("1", student, layout).passes == 1
        assert schedule("2", student, layout).passes == 2
        if name == "var-d16-dd1":
            plans = [schedule(f"pre-trained-{n}-6", student, layout) for n in (5, 4, 1)]
            assert [plan.passes for plan in plans] == [3, 4, 6]
            assert plans[0].moves == (Jump(0, 5), Redraw(4, 5), Jump(5, 5))
            assert plans[1].moves == (Jump(0, 8), Redraw(3, 5), Jump(5, 8))
            assert plans[2].moves == (Redraw(0, 5), Jump(5, 9))
            assert layout.offset(5) == 55
        else:
            assert [jump.start for jump in student.jumps] == [0, 4]
            assert layout.offset(student.jumps[0].split) == 30


def test_a_preset_brings_its_teachers_words() -> None:
    files = [f"{of}.checkpoint=x" for of in ("student", "teacher", "teacher.tokenizer")]
    implied, _ = student_trees(["student.preset=var-d20-dd1", *files], discover())
    teacher = {"name": "var", "preset": "d20", "prefix": "joint"}
    assert implied == {"student": {"name": "var-dd1"}, "teacher": teacher}
    with pytest.raises(ConfigError, match=r"give teacher\.checkpoint=PATH too"):
        student_trees(["student.preset=var-d20-dd1", files[0], files[2]], discover())
