"""Damaged and hostile files: every one is refused in one line, or means the same as the whole one."""

import attrs
import pytest
import torch
from ardistill_var.dd1_loading import load_published
from ardistill_var.dd1_settings import VARDD1Settings
from ardistill_var.loading import load_teacher
from ardistill_var.settings import VARTeacherSettings, VARTokenizerSettings
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ardistill.errors import ArdistillError
from ardistill.weights import Weights, write_weights
from tests.var.models import small_student, small_teacher

SMALL = small_teacher(shared_aln=True)
PLAIN = VARTokenizer(attrs.evolve(SMALL.tokenizer.config, ch=32, ch_mult=(1, 1), groups=32))  # as shapes tell
TEACHER = VARTeacher(SMALL.model, PLAIN)
STUDENT = small_student(TEACHER)
STATES = {
    "teacher": TEACHER.model.state_dict(),
    "tokenizer": TEACHER.tokenizer.state_dict(),
    "student": STUDENT.state_dict(),
}
TOLD = {"kind": "var-tokenizer", "config": attrs.asdict(TEACHER.tokenizer.config)}
MAY_LACK = ("attn_bias_for_masking", "zero_k_bias", "ema_vocab_hit_SV")

kinds = st.sampled_from(sorted(STATES))
damages = st.sampled_from(["drop", "rename", "flatten", "widen", "turn", "halve", "nan", "other numbers"])


def damaged(state: dict[str, Tensor], key: str, damage: str) -> dict[str, Tensor] | None:
    """The state with one tensor spoilt, or None where it can't be spoilt so."""
    kept = {k: v for k, v in state.items() if k != key}
    value = state[key]
    if damage == "drop":
        return kept
    if damage == "rename":
        return {**kept, f"{key}_": value}
    shapes = {
        "flatten": (-1,),
        "widen": (1, *value.shape),
        "turn": tuple(reversed(value.shape)),
        "halve": (2, value.numel() // 2) if value.numel() % 2 == 0 else value.shape,
    }
    if damage in shapes:
        changed = value.reshape(shapes[damage])
        return None if changed.shape == value.shape else {**kept, key: changed}
    if damage == "nan":
        return {**kept, key: torch.full_like(value, torch.nan)} if value.is_floating_point() else None
    return {**kept, key: value.int()} if value.is_floating_point() else {**kept, key: value.float()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("damage")


def load(folder, kind: str, state: dict[str, Tensor], told: bool = False):
    """The module that the file makes, or the words it is refused with; `told`: the tokenizer describes itself."""
    try:
        if kind == "student":
            return load_published(VARDD1Settings(), TEACHER, Weights(state, {}, folder / "dd.pth"))
        states = {**STATES, kind: state}
        write_weights(folder / "var.safetensors", states["teacher"], {})
        write_weights(folder / "vae.safetensors", states["tokenizer"], TOLD if told else {})
        tokenizer = VARTokenizerSettings(checkpoint=folder / "vae.safetensors")
        words = VARTeacherSettings(checkpoint=folder / "var.safetensors", tokenizer=tokenizer)
        teacher = load_teacher(words, lambda _: None)
        return teacher.model if kind == "teacher" else teacher.tokenizer
    except ArdistillError as error:
        return str(error)


@pytest.mark.parametrize("kind", sorted(STATES))
def test_the_whole_files_load(folder, kind: str) -> None:
    got = load(folder, kind, STATES[kind]).state_dict()
    assert all(torch.equal(value, got[name]) for name, value in STATES[kind].items())


@given(kinds, st.data(), damages, st.booleans())
def test_damage_is_refused_in_one_line(folder, kind: str, data, damage: str, told: bool) -> None:
    key = data.draw(st.sampled_from(sorted(STATES[kind])))
    state = damaged(STATES[kind], key, damage)
    if state is None:
        return
    loaded = load(folder, kind, state, told)
    if damage == "drop" and (key.endswith(MAY_LACK) or (kind == "student" and key == "lvl_1L")):
        got = loaded.state_dict()
        assert all(torch.equal(value, got[name]) for name, value in STATES[kind].items())
    else:
        assert isinstance(loaded, str), "it was loaded"
        assert "\n" not in loaded
        assert str(folder) in loaded


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([0, 1, 1, 1, *[2] * 17], "does not list square scales in order"),
        ([1, 0, 0, 0, 0, *[2] * 16], "does not list square scales in order"),
        ([0, 1, 1, 1, 1, *[-1] * 16], "does not list square scales in order"),
        ([0, 2, 2, 2, 2, *[10**12] * 16], "does not list square scales in order"),
        ([0, 1, 1, 1, 1], "its lvl_1L lists 5 tokens, and pos_1LC has 21"),
        ([], "its lvl_1L lists 0 tokens, and pos_1LC has 21"),
    ],
)
@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_levels_that_are_none(folder, kind: str, levels: list[int], message: str) -> None:
    shift = 1 if kind == "student" else 0
    told = torch.tensor([[*[0] * shift, *(level + shift for level in levels)]])
    refused = load(folder, kind, {**STATES[kind], "lvl_1L": told})
    assert (message if kind == "teacher" else "lvl_1L") in refused


@pytest.mark.parametrize("key", ["attn_bias_for_masking", "blocks.1.attn.zero_k_bias"])
@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_structure_that_is_not_ours(folder, kind: str, key: str) -> None:
    other = torch.zeros_like(STATES[kind][key]) + (key.endswith("bias") * 0.5)
    refused = load(folder, kind, {**STATES[kind], key: other})
    assert f"its {key} was made for other scales or another mask" in refused
