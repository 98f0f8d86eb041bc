"""What LlamaGen's DD1 student promises: its jumps, its settings, its weights files."""

from functools import cache

import attrs
import cattrs
import pytest
import torch
from ardistill_llamagen.config import PRESETS, GPTConfig
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_llamagen.dd1_loading import load_published, rebuild
from ardistill_llamagen.dd1_settings import LlamaGenDD1Settings
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.transformer import GPT
from hypothesis import given
from hypothesis import strategies as st

from ardistill.config import structure_trees
from ardistill.errors import ConfigError, MisfitError, PluginError
from ardistill.launch.parts import read_student, save_student
from ardistill.noise import Draw
from ardistill.plugins import discover
from ardistill.protocols import Condition, Guidance, Jump, Redraw, Student
from ardistill.sampling import generate, schedule
from ardistill.schedules import Jumps
from ardistill.weights import Weights, read_weights
from tests.golden import fill
from tests.llamagen.models import captions, classes, small_teacher, tiny_tokenizer

L, C = 9, 8


def small_student(teacher=None, **jumps):
    made = (teacher or small_teacher()).jumper(Jumps(**jumps), seed=1)
    fill(made, 6)
    return made.eval()


@cache
def student():
    """One for the tests that only ask it."""
    return small_student()


def noise(seed=0):
    return Draw(seed, "dd1", 0, 3).normal("noise", L, C)


def test_holds_the_protocol():
    assert isinstance(small_student(), Student)


@given(start=st.integers(0, L), seed=st.integers(0, 99))
def test_latents_before_the_start_pass_through(start, seed):
    made, latents = student(), noise(seed)
    prediction = made.jump(latents, classes(), start)
    assert torch.equal(prediction.latents_BLC[:, :start], latents[:, :start])
    assert prediction.latents_BLC.shape == latents.shape
    assert prediction.logits_BLV.shape == (3, L, 24)
    assert prediction.logits_BLV.isfinite().all()
    if start < L:
        assert not torch.isclose(prediction.latents_BLC[:, start:], latents[:, start:]).all(-1).any()


@given(place=st.integers(0, L - 1), start=st.integers(0, L))
def test_a_token_hangs_on_its_own_vector_and_on_those_before(place, start):
    made, latents = student(), noise()
    other = latents.clone()
    other[:, place] += 1
    with torch.no_grad():
        a, b = (made(x, classes(), start) for x in (latents, other))
    for one, two in ((a.latents_BLC, b.latents_BLC), (a.logits_BLV, b.logits_BLV)):
        torch.testing.assert_close(one[:, :place], two[:, :place])
        assert (one[:, place:] - two[:, place:]).abs().amax(-1).gt(1e-5).all()


def test_the_class_and_the_start_are_heard():
    made, latents = student(), noise()
    with torch.no_grad():
        label = torch.tensor([1, 1, 1])
        assert not torch.allclose(
            made(latents, Condition(label), 0).latents_BLC, made(latents, Condition(label + 1), 0).latents_BLC
        )
        four, five = (made(latents, Condition(label), start).latents_BLC for start in (4, 5))
    torch.testing.assert_close(four[:, :4], five[:, :4])
    assert not torch.isclose(four[:, 4:], five[:, 4:]).all(-1).any()


def test_schedules_and_passes():
    teacher = small_teacher(Guidance(2.0))
    made = small_student(teacher, starts=(0, 4), split=3, recipes=("pre-trained-3-5:6", "pre-trained-1-5:7"))
    plans = {words: schedule(words, made, teacher.layout) for words in ("1", "2", *made.schedules)}
    assert plans["2"].moves == (Jump(0, 3), Jump(4, 3))
    assert plans["pre-trained-3-5"].moves == (Jump(0, 6), Redraw(2, 4), Jump(4, 6))
    assert plans["pre-trained-1-5"].moves == (Redraw(0, 4), Jump(4, 7))
    assert [plan.passes for plan in plans.values()] == [1, 2, 4, 5]
    calls = []
    made.register_forward_hook(lambda *_: calls.append("student"))
    for plan in plans.values():
        calls.clear()
        latents = generate(plan, made, teacher, classes(), Draw(0, "s", 0, 3))
        assert latents.shape == (3, L, C)
        assert len(calls) == sum(isinstance(move, Jump) for move in plan.moves)
    codes = teacher.tokenizer.codebook
    snapped = (
        torch.cdist(latents, codes).amin(-1) < 1e-4
    )  # what the last plan leaves: tokens, codes, then vectors
    assert snapped[:, :7].all()
    assert not snapped[:, 7:].any()


def test_begins_as_its_teacher():
    teacher = small_teacher()
    made = LlamaGenDD1.of(teacher.model, seed=3)
    ours, theirs = made.state_dict(), teacher.model.state_dict()
    fresh = {key for key in ours if key not in theirs or ours[key].shape != theirs[key].shape}
    assert {key.partition(".")[0] for key in fresh} == {"tok_embeddings", "n_d_embed", "final_layer_conti"}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys() - fresh)
    shared = {tensor.data_ptr() for tensor in theirs.values()} & {
        tensor.data_ptr() for tensor in ours.values()
    }
    assert not shared
    assert all(parameter.requires_grad for parameter in made.parameters())
    again, other = (LlamaGenDD1.of(teacher.model, seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(ours[key], again[key]) for key in ours)
    assert not torch.equal(ours["tok_embeddings.weight"], other["tok_embeddings.weight"])
    made(noise(), classes(), 0).latents_BLC.square().mean().backward()
    assert made.layers[0].attention.wqkv.weight.grad.abs().sum() > 0


def test_only_classes():
    with pytest.raises(ConfigError, match="must be a c2i model"):
        small_teacher(text=True).jumper(Jumps(), seed=0)
    with pytest.raises(ValueError, match="class labels"):
        small_student().jump(noise(), captions())


@pytest.mark.parametrize(
    ("jumps", "says"),
    [
        ({"starts": (1, 4)}, "starts=1,4 must begin with 0 and increase"),
        ({"starts": (0, 4, 4)}, "starts=0,4,4 must begin with 0 and increase"),
        ({"starts": ()}, "starts=nothing must begin with 0"),
        ({"starts": (0, 9)}, "starts=0,9 with split=0 is beyond this student's 9 tokens"),
        ({"split": 10}, "starts=0 with split=10 is beyond"),
        ({"recipes": ("pre-trained-2-4",)}, "recipe 'pre-trained-2-4' is not of the form"),
    ],
)
def test_impossible_jumps_are_refused(jumps, says):
    with pytest.raises(ConfigError, match=says):
        small_student(**jumps)


def test_our_own_file_rebuilds_the_student(tmp_path):
    teacher, path = small_teacher(), tmp_path / "student.safetensors"
    made = small_student(teacher, starts=(0, 4), split=2, recipes=("pre-trained-3-5:6",))
    save_student(path, made, made.spec)
    settings = LlamaGenDD1Settings(checkpoint=path)
    back = read_student("llamagen-dd1", settings, teacher, discover())
    assert (back.jumps, back.schedules) == (made.jumps, made.schedules)
    a, b = (each.jump(noise(), classes()) for each in (made, back))
    assert torch.equal(a.latents_BLC, b.latents_BLC)
    with pytest.raises(ConfigError, match="9 tokens an image, and the teacher has 16"):
        rebuild(made.spec.settings, small_teacher(side=4))


def published(tmp_path, state, name="llamagen-X.pt"):
    """As the official release: the average under `ema`, beside the weights as trained."""
    raw = {key: torch.zeros_like(value) for key, value in state.items()}
    torch.save({"ema": state, "model": raw, "steps": 7}, tmp_path / name)
    return tmp_path / name


def test_reads_the_official_layout(tmp_path):
    teacher = small_teacher()
    made = small_student(teacher)
    path = published(tmp_path, {**made.state_dict(), "freqs_cis": torch.zeros(2)})
    settings = LlamaGenDD1Settings(checkpoint=path, starts=(0, 4), split=4)
    back = read_student("llamagen-dd1", settings, teacher, discover())
    assert back.jumps == (Jump(0, 4), Jump(4, 4))
    assert torch.equal(back.jump(noise(), classes()).latents_BLC, made.jump(noise(), classes()).latents_BLC)


def fitting(**changes):
    """A teacher of the sizes given."""
    model = GPT(attrs.evolve(small_teacher().model.config, **changes))
    fill(model, 5)
    tokenizer = tiny_tokenizer(model.config.vocab_size, model.config.side, model.config.code_width)
    return LlamaGenTeacher(model, tokenizer)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vocab_size": 32}, "of 24 codes, and the teacher has 32"),
        ({"code_width": 4}, "of 8 channels a code, and the teacher has 4"),
        ({"num_classes": 7}, "of 5 classes, and the teacher has 7"),
        ({"n_layer": 3}, "width 32 with 2 layers, which was never released, and does not say how many heads"),
    ],
)
def test_students_of_other_teachers_are_refused(tmp_path, changes, says):
    file = read_weights(published(tmp_path, small_student().state_dict()))
    with pytest.raises(ConfigError, match=says):
        load_published(LlamaGenDD1Settings(), fitting(**changes), file)


def released(teacher_name, tmp_path):
    """Weights of a released student's shapes, without its numbers."""
    with torch.device("meta"):
        made = LlamaGenDD1(PRESETS[teacher_name], Jumps())
    return Weights(made.state_dict(), {}, tmp_path / "x.pt")


def meta_teacher(name, **changes):
    config = attrs.evolve(PRESETS[name], **changes)
    with torch.device("meta"):
        return LlamaGenTeacher(GPT(config), tiny_tokenizer_of(config))


def tiny_tokenizer_of(config):
    with torch.device("cpu"):
        return tiny_tokenizer(config.vocab_size, config.side, config.code_width)


def test_a_preset_is_held_to_its_weights(tmp_path):
    """No weights of the released sizes are made: the refusals come before they are read."""
    big, settings = released("c2i-L", tmp_path), LlamaGenDD1Settings(preset="llamagen-b-dd1")
    with pytest.raises(
        MisfitError, match=r"holds llamagen-l-dd1's weights, not llamagen-b-dd1's; give student\.preset"
    ):
        load_published(settings, meta_teacher("c2i-B"), big)
    small = read_weights(published(tmp_path, small_student().state_dict()))
    with pytest.raises(
        MisfitError, match="a student of width 32 with 2 layers, no released one, not llamagen-b"
    ):
        load_published(settings, small_teacher(), small)
    with pytest.raises(ConfigError, match="draws images of 256 tokens, and this teacher has 576"):
        load_published(settings, meta_teacher("c2i-B", block_size=576), released("c2i-B", tmp_path))


def test_other_files_are_refused_by_what_they_are(tmp_path):
    teacher, settings = small_teacher(), LlamaGenDD1Settings()
    path = tmp_path / "x.pt"
    for tensors, says in (
        (
            teacher.model.state_dict(),
            "holds a LlamaGen of depth 2, and a DD1 student of LlamaGen is expected",
        ),
        (teacher.tokenizer.state_dict(), "holds .*, and a DD1"),
        ({"layerwise_n_d_embed.0.bias": torch.zeros(1)}, "holds a DD1 student of VAR, and"),
        ({"weight": torch.zeros(1)}, r"holds something else \(its first keys: 'weight'\), and"),
    ):
        with pytest.raises(MisfitError, match=says):
            load_published(settings, teacher, Weights(tensors, {}, path))
    state = small_student().state_dict()
    del state["n_d_embed.weight"]
    with pytest.raises(MisfitError, match=r"width 32 with 2 layers: n_d_embed\.weight is missing"):
        load_published(settings, teacher, Weights(state, {}, path))
    with pytest.raises(PluginError, match="give teacher=llamagen"):
        load_published(settings, object(), Weights(state, {}, path))


@pytest.mark.parametrize("preset", LlamaGenDD1Settings.presets())
def test_presets_are_possible_for_their_networks(preset):
    """Their jumps and recipes fit 256 tokens, and their words are those of the released teachers."""
    registry = discover()
    settings = structure_trees([{"preset": preset}], LlamaGenDD1Settings, registry)
    told = LlamaGenDD1Settings.teacher_words()[preset]
    with torch.device("meta"):
        made = LlamaGenDD1(PRESETS[told["preset"]], settings)
    assert made.jumps[1].start == 80
    assert told["name"] in registry.names("teacher")


def test_the_l_students_recipes_are_the_papers():
    """22, 42 and 81 passes (DD1, table 1), with splits of their own."""
    preset = cattrs.structure(LlamaGenDD1Settings.presets()["llamagen-l-dd1"], LlamaGenDD1Settings)
    with torch.device("meta"):
        made = LlamaGenDD1(GPTConfig(dim=32, n_head=2, n_layer=1), preset)
    assert [plan.passes for plan in made.schedules.values()] == [22, 42, 81]
    assert [plan.moves[-1] for plan in made.schedules.values()] == [
        Jump(80, 180),
        Jump(80, 180),
        Jump(80, 220),
    ]
    assert made.jumps == (Jump(0, 130), Jump(80, 130))
