"""The quantizer, its training help, and what the backbone's options promise."""

import pytest
import torch
from ardistill_vqgan import quantizer as quantizer_module
from ardistill_vqgan.backbone import Decoder, Encoder
from ardistill_vqgan.config import BackboneConfig, TamingConfig
from ardistill_vqgan.quantizer import SingleScaleQuantizer, nearest_codes
from ardistill_vqgan.quantizer_training import code_usage, initialise, kmeans, pick_rows, restart_dead_codes
from ardistill_vqgan.taming import TamingVQGAN
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from ardistill.errors import ConfigError, DataError
from ardistill.protocols import Tokenizer


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 40), st.integers(2, 30), st.integers(1, 8), st.integers(0, 99), st.booleans())
def test_nearest_is_the_brute_force(n: int, v: int, c: int, seed: int, cosine: bool) -> None:
    z, codes = normal(n, c, seed=seed), normal(v, c, seed=seed + 1)
    got = nearest_codes(z, codes, cosine=cosine)
    if cosine:
        z, codes = F.normalize(z, dim=-1), F.normalize(codes, dim=-1)
    distance = torch.cdist(z.double(), codes.double())
    chosen = distance.gather(1, got[:, None]).squeeze(1)
    torch.testing.assert_close(chosen, distance.amin(1), atol=1e-5, rtol=1e-5)


def test_nearest_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    z, codes = normal(50, 4), normal(16, 4, seed=1)
    whole = nearest_codes(z, codes)
    monkeypatch.setattr(quantizer_module, "_SCORES_AT_ONCE", 16 * 7)
    assert torch.equal(nearest_codes(z, codes), whole)


def test_straight_through_and_loss() -> None:
    quantizer = SingleScaleQuantizer(16, 4, beta=0.25)
    z = normal(2, 4, 3, 3).requires_grad_()
    out = quantizer(z)
    codes = quantizer.embedding(out.tokens_BL).transpose(1, 2).reshape(z.shape)
    torch.testing.assert_close(out.z_BCHW, codes)
    (passed,) = torch.autograd.grad(out.z_BCHW.sum(), z, retain_graph=True)
    torch.testing.assert_close(passed, torch.ones_like(z))
    torch.testing.assert_close(out.loss, 1.25 * (codes - z).square().mean())
    pulled = torch.autograd.grad(out.loss, [z, quantizer.embedding.weight])
    torch.testing.assert_close(pulled[0], 2 * (z - codes).detach() / z.numel())
    assert pulled[1].abs().sum() > 0


def test_kmeans_finds_separate_clusters() -> None:
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    x = (centres[:, None] + 0.1 * normal(4, 50, 2)).flatten(0, 1)
    found = kmeans(x, 4, seed=0)
    assert torch.cdist(centres, found).amin(1).max() < 0.2
    assert torch.equal(found, kmeans(x, 4, seed=0))


@given(st.integers(1, 12), st.integers(2, 12), st.integers(0, 50))
def test_kmeans_with_few_vectors(n: int, codes: int, seed: int) -> None:
    x = normal(n, 3, seed=seed)
    found = kmeans(x, codes, seed=seed)
    assert found.shape == (codes, 3)
    assert found.isfinite().all()
    if n <= codes:
        assert torch.cdist(x, found).amin(1).max() < 1e-3


def test_dead_codes_restart_and_live_ones_stay() -> None:
    codes, features = normal(8, 3), normal(20, 3, seed=1)
    before = codes.clone()
    usage = code_usage(torch.tensor([[0, 1, 1], [5, 5, 5]]), 8)
    moved = restart_dead_codes(codes, usage, features, seed=2)
    assert moved.tolist() == [False, False, True, True, True, False, True, True]
    assert torch.equal(codes[~moved], before[~moved])
    assert torch.cdist(codes[moved], features).amin(1).max() == 0
    again = before.clone()
    restart_dead_codes(again, usage, features, seed=2)
    assert torch.equal(again, codes)
    assert not restart_dead_codes(codes, usage + 1, features, seed=2).any()


def test_no_vectors_no_codebook() -> None:
    with pytest.raises(DataError, match="0 vectors"):
        pick_rows(torch.zeros(0, 3), 2, 0)


def test_seeded_weights_ignore_the_global_generator() -> None:
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Embedding(3, 2)))
        initialise(models[-1], seed=5)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("packed", [False, True])
def test_backbone_options(packed: bool) -> None:
    config = BackboneConfig(
        ch=8,
        ch_mult=(1, 2),
        num_res_blocks=1,
        in_channels=1,
        z_channels=5,
        groups=4,
        attn_levels=(0,),
        packed_qkv=packed,
    )
    z = Encoder(config)(torch.zeros(2, 1, 16, 16))
    assert z.shape == (2, 5, 8, 8)
    assert Decoder(config)(z).shape == (2, 1, 16, 16)


def test_taming_holds_the_protocol() -> None:
    config = TamingConfig(
        vocab=10,
        code_width=4,
        resolution=16,
        attn_resolutions=(8,),
        ch=8,
        ch_mult=(1, 2),
        num_res_blocks=1,
        z_channels=6,
        groups=4,
        in_channels=1,
    )
    model = TamingVQGAN(config)
    protocol: object = model
    assert isinstance(protocol, Tokenizer)
    images = normal(2, *model.image_shape).clamp(-1, 1)
    tokens = model.encode(images)
    assert tokens.shape == (2, model.n_tokens)
    assert model.decode(model.codebook[tokens]).shape == images.shape


def test_configs_refuse_what_cannot_be_built() -> None:
    with pytest.raises(ConfigError, match="groups=32"):
        BackboneConfig(ch=40)
    with pytest.raises(ConfigError, match="attn_levels"):
        BackboneConfig(ch_mult=(1, 2), attn_levels=(2,))
    with pytest.raises(ConfigError, match="multiple of 16"):
        TamingConfig(resolution=100)
    with pytest.raises(ConfigError, match="ch_mult"):
        BackboneConfig(ch_mult=())
