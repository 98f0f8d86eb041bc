"""Several images side by side: one tokenizer for each of them, one transformer for all."""

import json
from pathlib import Path

import attrs
import pytest
import torch
from ardistill_var.config import MOST_TOKENS, VARConfig, VARTokenizerConfig, panel_steps
from ardistill_var.dd1 import VARDD1
from ardistill_var.dd1_loading import rebuild
from ardistill_var.loading import load_teacher
from ardistill_var.scales import ScalePyramid
from ardistill_var.settings import VARTeacherSettings
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ardistill.errors import ConfigError
from ardistill.protocols import Condition, Guidance, Jumps
from ardistill.weights import write_weights
from tests.var.models import random_tokens, small_student, small_teacher

LABELS = Condition(torch.tensor([0, 4, 2]))
PAIR = small_teacher(Guidance(1.5, top_k=9), panels=2)
LAYOUT = PAIR.layout


def single(teacher: VARTeacher) -> VARTokenizer:
    """The same weights for one panel."""
    made = VARTokenizer(attrs.evolve(teacher.tokenizer.config, panels=1))
    made.load_state_dict(teacher.tokenizer.state_dict())
    return made.eval().requires_grad_(False)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def steps(teacher: VARTeacher, tokens: Tensor, begin: int = 0) -> Tensor:
    """The cursor's log-probabilities along the tokens, from step `begin` on."""
    cursor = teacher.start(LABELS, tokens[:, : teacher.layout.offset(begin)])
    parts = []
    for step in range(begin, teacher.layout.n_steps):
        parts.append(cursor.log_probs())
        cursor.accept(tokens[:, teacher.layout.span(step)])
    return torch.cat(parts, dim=1)


def test_the_first_scale_takes_a_step_a_panel() -> None:
    assert LAYOUT.sizes == (1, 1, 8, 32)
    assert VARConfig(patch_nums=(2, 3), panels=3).step_sizes == (4, 4, 4, 27)
    assert panel_steps((1, 2, 3), 1) == (1, 4, 9)
    assert PAIR.tokenizer.image_shape == (1, 8, 16)
    assert PAIR.tokenizer.n_tokens == 42


@pytest.mark.parametrize("make", [VARConfig, VARTokenizerConfig])
def test_too_many_panels_are_refused(make: type) -> None:
    with pytest.raises(ConfigError, match=f"panels=100 make 68000 tokens, and at most {MOST_TOKENS}"):
        make(panels=100)


@given(st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 3))
def test_the_order_of_emission_and_back(panels: int, sides: list[int], batch: int) -> None:
    pyramid = ScalePyramid(sides, panels)
    length = sum(pyramid.sizes)
    own = torch.arange(batch * panels * length).view(batch * panels, length)
    mixed = pyramid.in_order(own)
    assert mixed.shape == (batch, sum(pyramid.step_sizes))
    assert torch.equal(pyramid.by_panel(mixed), own)
    first = panels * pyramid.sizes[0]
    assert torch.equal(mixed[0, :first], own[:panels, : pyramid.sizes[0]].flatten())
    assert torch.equal(pyramid.by_panel(mixed[:, :first]), own[:, : pyramid.sizes[0]])


@pytest.mark.parametrize("panels", [2, 3])
def test_panels_are_coded_and_decoded_each_by_itself(panels: int) -> None:
    teacher = small_teacher(panels=panels)
    tokenizer, alone = teacher.tokenizer, single(teacher)
    images = normal(0, 2, *tokenizer.image_shape).tanh()
    parts = images.chunk(panels, dim=3)
    tokens = tokenizer.encode(images)
    assert tokens.shape == (2, tokenizer.n_tokens)
    own = tokenizer.quantize.pyramid.by_panel(tokens).view(2, panels, -1)
    for panel, part in enumerate(parts):
        assert torch.equal(own[:, panel], alone.encode(part))
    codes = tokenizer.codebook[tokens]
    want = torch.cat([alone.decode(tokenizer.codebook[own[:, panel]]) for panel in range(panels)], dim=3)
    torch.testing.assert_close(tokenizer.decode(codes), want)
    coarse = torch.cat(
        [alone.decode(tokenizer.codebook[own[:, panel, :5]]) for panel in range(panels)], dim=3
    )
    torch.testing.assert_close(tokenizer.decode(codes[:, : panels * 5]), coarse)
    made, quantized = tokenizer(images)
    assert made.shape == images.shape
    assert torch.equal(quantized.tokens_BL, tokens)


@pytest.mark.parametrize("panels", [2, 3])
def test_what_the_transformer_is_shown(panels: int) -> None:
    teacher = small_teacher(panels=panels)
    tokenizer, alone = teacher.tokenizer, single(teacher)
    codes = tokenizer.codebook[random_tokens(teacher, 3, seed=0)]
    inputs = tokenizer.quantize.inputs(codes)
    assert inputs.shape == (3, panels * 21 - 1, 6)
    own = tokenizer.quantize.pyramid.by_panel(codes).view(3, panels, 21, 6)
    for panel in range(1, panels):  # a first token is shown what the one before it made of its panel
        coarse = alone.quantize.map(own[:, panel - 1, :1])
        torch.testing.assert_close(inputs[:, panel - 1], coarse.mean((2, 3)))
    shown = [alone.quantize.inputs(own[:, panel]) for panel in range(panels)]
    later = torch.cat([part[:, scale] for scale in (slice(4), slice(4, 20)) for part in shown], dim=1)
    torch.testing.assert_close(inputs[:, panels - 1 :], later)
    # The last step is shown to nobody, so it may be missing.
    torch.testing.assert_close(tokenizer.quantize.inputs(codes[:, : panels * 5]), inputs)


@pytest.mark.parametrize("panels", [2, 3])
@pytest.mark.parametrize("patch_nums", [(1, 2, 4), (2, 3), (2,)])
@pytest.mark.parametrize("guidance", [Guidance(), Guidance(2.0, top_k=9, top_p=0.9)])
def test_stepwise_equals_one_pass(panels: int, patch_nums: tuple[int, ...], guidance: Guidance) -> None:
    teacher = small_teacher(guidance, panels=panels, patch_nums=patch_nums)
    tokens = random_tokens(teacher, 3, seed=1)
    whole = teacher.log_probs(LABELS, teacher.tokenizer.codebook[tokens])
    torch.testing.assert_close(whole.exp().sum(-1), torch.ones(tokens.shape))
    for begin in range(teacher.layout.n_steps):
        want = whole[:, teacher.layout.offset(begin) :]
        torch.testing.assert_close(steps(teacher, tokens, begin), want, atol=1e-4, rtol=1e-4)


def test_the_first_steps_features_need_the_first_steps_inputs_alone() -> None:
    labels = LABELS.require_labels()
    inputs = normal(1, 3, 41, 6)
    whole = PAIR.model(inputs, labels)
    for given_inputs in (0, 1, 9):
        torch.testing.assert_close(PAIR.model(inputs[:, :given_inputs], labels), whole[:, : 1 + given_inputs])


@given(st.integers(0, 41))
def test_a_feature_depends_on_earlier_steps_alone(position: int) -> None:
    trunk, latents = PAIR.trunk(), normal(2, 3, 42, 6).requires_grad_()
    features = trunk(latents, LABELS)
    (told,) = torch.autograd.grad(features[:, position].square().sum(), latents, allow_unused=True)
    end = LAYOUT.offset(int(LAYOUT.step_of_token()[position]))
    heard = torch.zeros(3, 42) if told is None else told.abs().amax(-1)
    assert heard[:, end:].max() == 0
    assert end == 0 or heard[:, :end].min() > 0


@given(st.integers(0, 41), st.integers(0, 3))
def test_a_students_token_tells_itself_and_later_steps_alone(position: int, start: int) -> None:
    student = small_student(PAIR, starts=(0, 1, 2, 3))
    state = normal(3, 3, 42, 6)
    changed = state.clone()
    changed[:, position] += 1.0
    step = LAYOUT.step_of_token()
    hears = step > step[position]
    hears[position] = True
    with torch.no_grad():
        before, after = student(state, LABELS, start), student(changed, LABELS, start)
        kept = student.jump(state, LABELS, start).latents_BLC[:, : LAYOUT.offset(start)]
    for a, b in ((before.latents_BLC, after.latents_BLC), (before.logits_BLV, after.logits_BLV)):
        moved = (a - b).abs().amax((0, 2))
        assert moved[hears].min() > 1e-5
        assert (~hears).sum() == 0 or moved[~hears].max() == 0
    assert torch.equal(kept, state[:, : LAYOUT.offset(start)])


def test_a_student_is_rebuilt_with_its_panels() -> None:
    student = small_student(PAIR, starts=(0, 2), split=2)
    assert student.sizes == (1, *LAYOUT.sizes)
    twin = rebuild(json.loads(json.dumps(student.spec.settings)), PAIR)
    twin.load_state_dict(student.state_dict(), assign=True)
    state = normal(4, 3, 42, 6)
    assert torch.equal(twin.jump(state, LABELS, 2).latents_BLC, student.jump(state, LABELS, 2).latents_BLC)
    other = VARDD1(small_teacher().model.config, Jumps())
    with pytest.raises(ConfigError, match="a student of panels 1, and the teacher's are 2"):
        rebuild(other.spec.settings, PAIR)


def test_files_say_how_many_panels(tmp_path: Path) -> None:
    paths = {"var/teacher": tmp_path / "teacher.safetensors", "var/tokenizer": tmp_path / "tok.safetensors"}
    for (name, path), module in zip(paths.items(), (PAIR.model, PAIR.tokenizer), strict=True):
        about = {"kind": name.replace("/", "-"), "config": attrs.asdict(module.config)}
        write_weights(path, module.state_dict(), about)
    loaded = load_teacher(VARTeacherSettings(cfg=1.5, top_k=9, top_p=0.0), paths.get)
    tokens = random_tokens(PAIR, 3, seed=3)
    codes = PAIR.tokenizer.codebook[tokens]
    torch.testing.assert_close(loaded.log_probs(LABELS, codes), PAIR.log_probs(LABELS, codes))
    torch.testing.assert_close(loaded.tokenizer.decode(codes), PAIR.tokenizer.decode(codes))


def test_teacher_and_tokenizer_agree_on_panels() -> None:
    with pytest.raises(ConfigError, match="have panels 2 and their tokenizer's have 1"):
        VARTeacher(PAIR.model, small_teacher().tokenizer)
