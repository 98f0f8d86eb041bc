"""What the teacher, its cursor and its trunk promise, on a small random model."""

import copy

import pytest
import torch
from ardistill_var.scales import resize_matrix
from ardistill_var.teacher import VARTeacher
from torch import Tensor
from torch.nn import functional as F

from ardistill.errors import ConfigError
from ardistill.protocols import ARTeacher, Condition, Guidance, Tokenizer
from tests.var.models import golden_teacher, random_tokens, small_teacher

LABELS = Condition(torch.tensor([0, 4, 2]))
GUIDANCES = [Guidance(), Guidance(2.0), Guidance(1.5, top_k=7), Guidance(3.0, 9, 0.8, 0.7)]


UPSTREAM_TOKENS = [
    [int(word) for word in row.split()]
    for row in (
        "38 38 38 38 38 52 38 38 38 38 3 38 3 52 7 13 48 13 48 38 7 13 38 13 48 38 48 3 38 3",
        "32 18 16 41 18 32 32 32 32 32 45 45 18 18 45 18 45 45 45 45 45 45 18 45 45 15 18 45 24 15",
    )
]


def steps(teacher: VARTeacher, tokens: Tensor, given: int = 0) -> Tensor:
    """The cursor's log-probabilities along the given tokens, from step `given` on."""
    prefix = tokens[:, : teacher.layout.offset(given)] if given else None
    cursor = teacher.start(LABELS, prefix)
    assert cursor.step == given
    parts = []
    for step in range(given, teacher.layout.n_steps):
        parts.append(cursor.log_probs())
        cursor.accept(tokens[:, teacher.layout.span(step)])
    assert cursor.step == teacher.layout.n_steps
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("shared_aln", [False, True])
@pytest.mark.parametrize("attn_l2_norm", [False, True])
def test_stepwise_equals_one_pass(guidance: Guidance, shared_aln: bool, attn_l2_norm: bool) -> None:
    teacher = small_teacher(guidance, shared_aln=shared_aln, attn_l2_norm=attn_l2_norm)
    tokens = random_tokens(teacher, 3, seed=1)
    whole = teacher.log_probs(LABELS, teacher.tokenizer.codebook[tokens])
    torch.testing.assert_close(whole.exp().sum(-1), torch.ones(tokens.shape))
    torch.testing.assert_close(steps(teacher, tokens), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("given", [1, 2, 3])
def test_prefix_equals_stepping(given: int) -> None:
    teacher = small_teacher(Guidance(1.5, top_k=7))
    tokens = random_tokens(teacher, 3, seed=2)
    if given == teacher.layout.n_steps:
        assert teacher.start(LABELS, tokens).step == given
        return
    want = steps(teacher, tokens)[:, teacher.layout.offset(given) :]
    torch.testing.assert_close(steps(teacher, tokens, given), want, atol=1e-4, rtol=1e-4)


def test_a_prefix_ends_a_scale() -> None:
    teacher = small_teacher()
    with pytest.raises(ValueError, match="does not end a scale"):
        teacher.start(LABELS, random_tokens(teacher, 3, seed=0)[:, :3])


def test_accept_checks_the_scale() -> None:
    cursor = small_teacher().start(LABELS)
    with pytest.raises(ValueError, match="scale 0 takes"):
        cursor.accept(torch.zeros(3, 4, dtype=torch.long))


def test_log_probs_may_be_asked_again_or_not_at_all() -> None:
    teacher = small_teacher(Guidance(1.0))
    tokens = random_tokens(teacher, 3, seed=5)
    often, never = teacher.start(LABELS), teacher.start(LABELS)
    for step in range(2):
        often.log_probs()
        assert often.log_probs() is often.log_probs()
        for cursor in (often, never):
            cursor.accept(tokens[:, teacher.layout.span(step)])
    torch.testing.assert_close(often.log_probs(), never.log_probs())


@pytest.mark.parametrize("shared_aln", [False, True])
def test_trunk_is_the_teachers_network(shared_aln: bool) -> None:
    teacher = small_teacher(shared_aln=shared_aln)
    latents = torch.randn(3, teacher.layout.n_tokens, 6, generator=torch.Generator().manual_seed(0))
    trunk = teacher.trunk()
    hidden = trunk(latents, LABELS)
    model, labels = teacher.model, LABELS.require_labels()
    torch.testing.assert_close(hidden, model.hidden(teacher.tokenizer.quantize.inputs(latents), labels))
    logits = model.logits(hidden, model.class_emb(labels))
    torch.testing.assert_close(logits.log_softmax(-1), teacher.log_probs(LABELS, latents))
    assert hidden.shape[-1] == trunk.width


def test_features_depend_on_earlier_scales_alone() -> None:
    teacher = small_teacher()
    trunk, layout = teacher.trunk(), teacher.layout
    latents = torch.randn(3, layout.n_tokens, 6, generator=torch.Generator().manual_seed(1))
    before = trunk(latents, LABELS)
    for step in range(layout.n_steps):
        changed = latents.clone()
        changed[:, layout.span(step)] += 1.0
        after = trunk(changed, LABELS)
        end = layout.offset(step + 1)
        torch.testing.assert_close(after[:, :end], before[:, :end], atol=0, rtol=0)
        assert step == layout.n_steps - 1 or (after[:, end:] - before[:, end:]).abs().amin((0, 2)).max() > 0
        assert all((after[:, i] - before[:, i]).abs().max() > 1e-4 for i in range(end, layout.n_tokens))


def test_gradients_reach_latents_and_trunk_but_not_the_teacher() -> None:
    teacher = small_teacher()
    trunk, layout = teacher.trunk(), teacher.layout
    latents = torch.randn(3, layout.n_tokens, 6, requires_grad=True)
    trunk(latents, LABELS).square().sum().backward()
    assert latents.grad is not None
    shown = layout.offset(layout.n_steps - 1)  # the last scale is shown to nobody
    assert latents.grad[:, :shown].abs().amin(-1).min() > 0
    assert latents.grad[:, shown:].abs().max() == 0
    assert all(p.requires_grad and p.grad is not None for p in trunk.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    names = {name for name, _ in trunk.named_parameters()}
    assert names == {name for name, _ in teacher.model.named_parameters() if not name.startswith("head")}
    theirs = {tensor.data_ptr() for tensor in [*teacher.parameters(), *teacher.buffers()]}
    assert not theirs & {tensor.data_ptr() for tensor in [*trunk.parameters(), *trunk.buffers()]}


def test_trunk_can_be_copied_and_stored() -> None:
    teacher = small_teacher()
    trunk = teacher.trunk()
    latents = torch.randn(3, teacher.layout.n_tokens, 6)
    twin = copy.deepcopy(trunk)
    with torch.no_grad():
        trunk.word_embed.weight.add_(0.1)
    assert not torch.equal(twin(latents, LABELS), trunk(latents, LABELS))
    twin.load_state_dict(trunk.state_dict())
    torch.testing.assert_close(twin(latents, LABELS), trunk(latents, LABELS))


def test_one_scale_is_enough() -> None:
    teacher = small_teacher(Guidance(1.0), patch_nums=(3,))
    tokens = random_tokens(teacher, 3, seed=1)
    codes = teacher.tokenizer.codebook[tokens]
    torch.testing.assert_close(steps(teacher, tokens), teacher.log_probs(LABELS, codes), atol=1e-4, rtol=1e-4)
    assert teacher.trunk()(codes, LABELS).shape == (3, 9, 32)
    assert teacher.tokenizer.decode(codes).shape == (3, 1, 6, 6)


def test_the_protocols_hold() -> None:
    teacher = small_teacher()
    protocols: list[object] = [teacher, teacher.tokenizer]
    assert isinstance(protocols[0], ARTeacher)
    assert isinstance(protocols[1], Tokenizer)
    images = torch.rand(2, *teacher.tokenizer.image_shape) * 2 - 1
    tokens = teacher.tokenizer.encode(images)
    assert tokens.shape == (2, teacher.tokenizer.n_tokens)
    assert teacher.tokenizer.decode(teacher.tokenizer.codebook[tokens]).shape == images.shape


def test_refusals() -> None:
    teacher = small_teacher()
    with pytest.raises(ConfigError, match="patch_nums"):
        VARTeacher(teacher.model, small_teacher(patch_nums=(1, 4)).tokenizer)


@pytest.mark.parametrize(("source", "target"), [(1, 4), (2, 4), (3, 4), (13, 16), (24, 32)])
def test_resizing_is_torchs(source: int, target: int) -> None:
    x = torch.randn(2, 3, source, source, generator=torch.Generator().manual_seed(0))
    y = torch.randn(2, 3, target, target, generator=torch.Generator().manual_seed(0))
    up = x.flatten(2) @ resize_matrix(source, target, "bicubic").t()
    down = y.flatten(2) @ resize_matrix(target, source, "area").t()
    want_up = F.interpolate(x, size=(target, target), mode="bicubic").flatten(2)
    want_down = F.interpolate(y, size=(source, source), mode="area").flatten(2)
    torch.testing.assert_close(up, want_up, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(down, want_down, atol=1e-6, rtol=1e-6)


def test_embedded_numbers() -> None:
    """Parity with upstream in a few numbers that travel with the repository (`var`, greedy, cfg 1.5)."""
    teacher = golden_teacher(shared_aln=False, guidance=Guidance(1.5))
    cursor, tokens = teacher.start(Condition(torch.tensor([3, 7]))), []
    for _ in range(4):
        tokens.append(cursor.log_probs().argmax(-1))
        cursor.accept(tokens[-1])
    tokens_BL = torch.cat(tokens, dim=1)
    assert tokens_BL[0].tolist() == UPSTREAM_TOKENS[0]
    assert tokens_BL[1].tolist() == UPSTREAM_TOKENS[1]
    codes = teacher.tokenizer.codebook[tokens_BL]
    logits = teacher.guided_logits(Condition(torch.tensor([3, 7])), codes)[0, 19, :6]
    want = [4.738007545, -1.667599201, 6.443541527, 4.824149609, 1.680691600, 1.914842606]
    torch.testing.assert_close(logits, torch.tensor(want), atol=1e-4, rtol=1e-4)
    pixels = (teacher.tokenizer.decode(codes)[0, :, 21, 42] + 1) / 2
    want = [0.543759882, 0.571322083, 0.040925354]
    torch.testing.assert_close(pixels, torch.tensor(want), atol=1e-4, rtol=1e-4)
