"""What LlamaGen's teacher, its cursor and its trunk promise, on small random models."""

import copy

import attrs
import pytest
import torch
from ardistill_llamagen.embedding import LatentEmbedding
from ardistill_llamagen.initialise import initialise
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.transformer import GPT
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ardistill.errors import ConfigError, DataError
from ardistill.protocols import ARTeacher, Condition, Guidance
from tests.llamagen.models import (
    captions,
    classes,
    condition_of,
    random_tokens,
    small_config,
    small_teacher,
    tiny_tokenizer,
)


def steps(teacher: LlamaGenTeacher, tokens: Tensor, given: int = 0, *, ask_every: int = 1) -> Tensor:
    """The cursor's log-probabilities along the given tokens after `given` of them, asked for every so many tokens."""
    cursor = teacher.start(condition_of(teacher), tokens[:, :given] if given else None)
    parts = []
    for step in range(given, teacher.layout.n_tokens):
        assert cursor.step == step
        if (step - given) % ask_every == 0:
            parts.append(cursor.log_probs())
            assert cursor.log_probs() is parts[-1]
        cursor.accept(tokens[:, step : step + 1])
    assert cursor.step == teacher.layout.n_tokens
    return torch.cat(parts, dim=1)


@given(
    guidance=st.builds(
        Guidance,
        scale=st.sampled_from([0.0, 1.0, 1.5, 4.0]),
        top_k=st.sampled_from([0, 1, 7]),
        top_p=st.sampled_from([0.0, 0.8, 1.0]),
        temperature=st.sampled_from([0.7, 1.0]),
    ),
    cfg_interval=st.integers(-1, 10),
    given_=st.integers(0, 8),
    ask_every=st.integers(1, 4),
    text=st.booleans(),
)
def test_stepwise_equals_one_pass(
    guidance: Guidance, cfg_interval: int, given_: int, ask_every: int, text: bool
) -> None:
    """After any prefix, under any guidance, however rarely the cursor is asked."""
    teacher = small_teacher(guidance, cfg_interval, text=text)
    tokens = random_tokens(teacher, 3, seed=given_)
    whole = teacher.log_probs(condition_of(teacher), teacher.tokenizer.codebook[tokens])
    torch.testing.assert_close(whole.exp().sum(-1), torch.ones(tokens.shape))
    got = steps(teacher, tokens, given_, ask_every=ask_every)
    torch.testing.assert_close(got.exp(), whole[:, given_::ask_every].exp(), atol=1e-4, rtol=1e-4)
    assert torch.equal(got.isinf(), whole[:, given_::ask_every].isinf())


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.1, 3.0])
def test_guidance_begins_above_one(scale: float, text: bool) -> None:
    """null + scale (cond - null), and below 1 the condition alone."""
    teacher = small_teacher(Guidance(scale), text=text)
    tokens, condition = random_tokens(teacher, 3, seed=0), condition_of(teacher)
    cond = teacher.model(tokens, condition)
    null = teacher.model(tokens, condition, torch.ones(3, dtype=torch.bool))
    assert (cond - null).abs().max() > 0.1
    want = scale * cond + (1 - scale) * null if scale > 1 else cond
    torch.testing.assert_close(teacher.guided_logits(condition, tokens), want)


@pytest.mark.parametrize("text", [False, True])
def test_guidance_ends_where_upstream_ends_it(text: bool) -> None:
    """Interval 3 guides token 0, and then decode steps 0 to 3, which draw tokens 1 to 4."""
    free, guided, ended = (
        small_teacher(Guidance(s), k, text=text) for s, k in ((1.0, -1), (3.0, -1), (3.0, 3))
    )
    tokens, condition = random_tokens(free, 3, seed=0), condition_of(free)
    with_it, without, got = (t.guided_logits(condition, tokens) for t in (guided, free, ended))
    torch.testing.assert_close(got[:, :5], with_it[:, :5], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got[:, 5:], without[:, 5:], atol=1e-5, rtol=1e-5)
    assert (with_it - without).abs().amin((0, 2)).max() > 0
    assert (with_it - without).abs().amax((0, 2)).min() > 0.1


@given(padding=st.integers(0, 3), scale=st.sampled_from([1.0, 3.0]), seed=st.integers(0, 99))
def test_masked_words_are_not_read(padding: int, scale: float, seed: int) -> None:
    """Whatever stands where the caption's mask says padding, the distribution is the same."""
    teacher = small_teacher(Guidance(scale), text=True)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 4, 6, generator=generator)
    mask = torch.arange(4).expand(2, 4) >= padding
    other = torch.where(mask[..., None], features, torch.randn(2, 4, 6, generator=generator))
    codes = teacher.tokenizer.codebook[random_tokens(teacher, 2, seed)]
    one, two = (teacher.log_probs(Condition(features_BTE=f, mask_BT=mask), codes) for f in (features, other))
    torch.testing.assert_close(one, two)
    unmasked = teacher.log_probs(Condition(features_BTE=features), codes)
    assert padding == 0 or (unmasked - one).abs().max() > 1e-3


def test_latents_stand_for_their_nearest_codes() -> None:
    teacher = small_teacher(Guidance(2.0, top_k=9))
    tokens = random_tokens(teacher, 3, seed=1)
    codes = teacher.tokenizer.codebook[tokens]
    exact = teacher.log_probs(classes(), codes)
    noise = 1e-3 * torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(teacher.log_probs(classes(), codes + noise), exact)
    other = codes.clone()
    other[:, 0] = -codes[:, 0]
    changed = teacher.log_probs(classes(), other)
    assert torch.equal(changed[:, 0], exact[:, 0])
    assert not torch.equal(changed[:, 1:], exact[:, 1:])


def test_cursor_refusals() -> None:
    teacher = small_teacher()
    tokens = random_tokens(teacher, 3, seed=0)
    with pytest.raises(ValueError, match=r"token 0 of 9 takes \(3, 1\), got \(3, 2\)"):
        teacher.start(classes()).accept(tokens[:, :2])
    with pytest.raises(ValueError, match="token 9 of 9"):
        teacher.start(classes(), tokens).accept(tokens[:, :1])
    with pytest.raises(ValueError, match="all 9 tokens are emitted"):
        teacher.start(classes(), tokens).log_probs()
    with pytest.raises(ValueError, match="longer than an image"):
        teacher.start(classes(), torch.cat([tokens, tokens], dim=1))


@pytest.mark.parametrize("text", [False, True])
def test_trunk_of_codes_is_the_teachers_network(text: bool) -> None:
    teacher = small_teacher(text=text)
    table, codebook = teacher.model.tok_embeddings.weight, teacher.tokenizer.codebook
    assert teacher.latent_embedding.relative_error(codebook, table) < 1e-3
    trunk, condition = teacher.trunk(), condition_of(teacher)
    tokens = random_tokens(teacher, 3, seed=2)
    hidden = trunk(codebook[tokens], condition)
    assert hidden.shape == (3, 9, trunk.width)
    torch.testing.assert_close(
        teacher.model.output(hidden), teacher.model(tokens, condition), atol=2e-2, rtol=2e-2
    )


@pytest.mark.parametrize("text", [False, True])
def test_features_depend_on_earlier_latents_alone(text: bool) -> None:
    teacher = small_teacher(text=text)
    trunk, condition = teacher.trunk(), condition_of(teacher)
    latents = torch.randn(3, 9, 8, generator=torch.Generator().manual_seed(1))
    before = trunk(latents, condition)
    for i in range(9):
        changed = latents.clone()
        changed[:, i] += 1.0
        after = trunk(changed, condition)
        assert torch.equal(after[:, : i + 1], before[:, : i + 1])
        assert all((after[:, j] - before[:, j]).abs().amax(-1).min() > 1e-4 for j in range(i + 1, 9))


def test_gradients_reach_latents_and_trunk_but_not_the_teacher() -> None:
    teacher = small_teacher()
    trunk = teacher.trunk()
    latents = torch.randn(3, 9, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    trunk(latents, classes()).pow(3).sum().backward()
    assert latents.grad is not None
    assert latents.grad[:, :-1].abs().amin(-1).min() > 0
    assert latents.grad[:, -1].abs().max() == 0  # the last token is shown to nobody
    assert all(p.requires_grad and p.grad is not None for p in trunk.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    embedding = teacher.latent_embedding
    assert all(p.grad is None and not p.requires_grad for p in embedding.parameters())
    names = {name for name, _ in trunk.named_parameters() if not name.startswith("latent_embedding.")}
    own = {"tok_embeddings.weight", "output.weight"}
    assert names == {name for name, _ in teacher.model.named_parameters()} - own
    theirs = {t.data_ptr() for t in [*teacher.parameters(), *teacher.buffers(), *embedding.parameters()]}
    assert not theirs & {tensor.data_ptr() for tensor in [*trunk.parameters(), *trunk.buffers()]}
    assert not any("latent_embedding" in key for key in teacher.state_dict())


def test_trunks_use_no_global_randomness() -> None:
    teacher = small_teacher()
    before = torch.get_rng_state()
    trunk = teacher.trunk()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" for p in trunk.state_dict().values())


def test_trunk_can_be_copied_and_stored() -> None:
    teacher = small_teacher(text=True)
    trunk = teacher.trunk()
    latents = torch.randn(3, 9, 8, generator=torch.Generator().manual_seed(3))
    twin, again = copy.deepcopy(trunk), teacher.trunk()
    with torch.no_grad():
        trunk.latent_embedding.fc2.bias.add_(0.1)
    assert torch.equal(twin(latents, captions()), again(latents, captions()))
    assert not torch.equal(twin(latents, captions()), trunk(latents, captions()))
    twin.load_state_dict(trunk.state_dict())
    assert torch.equal(twin(latents, captions()), trunk(latents, captions()))


@given(
    n_codes=st.integers(2, 128),
    width=st.integers(5, 8),
    scale=st.sampled_from([1e-2, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_embedding_passes_through_every_code(n_codes: int, width: int, scale: float, seed: int) -> None:
    """Wherever hidden units are as many as codes, at any scale and place of the codes; and twice the same."""
    generator = torch.Generator().manual_seed(seed)
    codes = F.normalize(torch.randn(n_codes, width, generator=generator), dim=-1) * scale + scale
    table = torch.randn(n_codes, 64, generator=generator)
    embedding = LatentEmbedding.fitted(codes, table)
    assert embedding.relative_error(codes, table) < 1e-3
    torch.testing.assert_close(embedding(codes), table, atol=1e-2, rtol=1e-2)
    assert torch.equal(embedding(codes), LatentEmbedding.fitted(codes, table)(codes))


def test_embedding_of_more_codes_than_hidden_units() -> None:
    """A table that is a smooth function of the codes is learned; random rows can't be, and the error says so."""
    generator = torch.Generator().manual_seed(0)
    codes = F.normalize(torch.randn(3000, 8, generator=generator), dim=-1)
    smooth = torch.tanh(codes @ torch.randn(8, 64, generator=generator))
    noise = torch.randn(3000, 64, generator=generator)
    assert LatentEmbedding.fitted(codes, smooth).relative_error(codes, smooth) < 0.2
    assert 0.8 < LatentEmbedding.fitted(codes, noise).relative_error(codes, noise) < 1.0


def test_weights_from_a_seed_ignore_the_global_generator() -> None:
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = GPT(small_config(text=True))
        initialise(model, seed=5)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert states[0]["output.weight"].abs().max() == 0
    assert states[0]["norm.weight"].eq(1).all()
    deviation = states[0]["layers.0.feed_forward.w1.weight"].std().item()
    assert deviation == pytest.approx(0.02, rel=0.05)
    assert states[0]["cls_embedding.uncond_embedding"].std().item() == pytest.approx(6**-0.5, rel=0.3)


def test_the_protocol_holds() -> None:
    for teacher in (small_teacher(), small_teacher(text=True)):
        protocol: object = teacher
        assert isinstance(protocol, ARTeacher)
        assert teacher.layout.sizes == (1,) * 9
        assert teacher.n_classes == (5 if teacher.model.config.model_type == "c2i" else 0)
        assert teacher.tokenizer.n_tokens == 9


def test_refusals() -> None:
    teacher, text = small_teacher(), small_teacher(text=True)
    with pytest.raises(ConfigError, match="24 codes, and its tokenizer has 30"):
        LlamaGenTeacher(teacher.model, tiny_tokenizer(30, 3))
    with pytest.raises(ConfigError, match="9 tokens in an image, and its tokenizer has 16"):
        LlamaGenTeacher(teacher.model, tiny_tokenizer(24, 4))
    with pytest.raises(ConfigError, match="8 numbers in a code, and its tokenizer has 5"):
        LlamaGenTeacher(teacher.model, tiny_tokenizer(24, 3, code_width=5))
    with pytest.raises(DataError, match="conditioned on captions"):
        text.start(classes())
    with pytest.raises(
        DataError, match="7 positions with 6 features were given, and this LlamaGen takes 4 with 6"
    ):
        text.start(Condition(features_BTE=torch.zeros(2, 7, 6)))
    with pytest.raises(ValueError, match="class labels"):
        teacher.start(captions())
    with pytest.raises(ConfigError, match="multiple of 4"):
        attrs.evolve(small_config(), n_head=3)
    with pytest.raises(ConfigError, match="block_size=10 must be a square"):
        attrs.evolve(small_config(), block_size=10)
    with pytest.raises(ConfigError, match="cls_token_num=2"):
        attrs.evolve(small_config(), cls_token_num=2)
