"""What the LlamaGen tokenizer promises of its codes, its sizes and its weights files."""

import attrs
import pytest
import torch
from ardistill_llamagen.settings import LlamaGenTokenizerSettings
from ardistill_llamagen.tokenizer import LlamaGenTokenizer, UnitQuantizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_llamagen.tokenizer_loading import load_tokenizer
from ardistill_vqgan.quantizer_training import initialise
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ardistill.errors import ConfigError, WeightsError
from ardistill.protocols import Tokenizer
from ardistill.weights import write_weights

SMALL = LlamaGenTokenizerConfig(
    codebook_size=12,
    codebook_embed_dim=4,
    z_channels=6,
    ch=32,
    ch_mult=(1, 2),
    num_res_blocks=1,
    in_channels=1,
    image_size=16,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(config=SMALL):
    tokenizer = LlamaGenTokenizer(config).eval()
    initialise(tokenizer, seed=1)
    return tokenizer


def nothing_bundled(name):
    return None


def test_holds_the_protocol():
    tokenizer = small()
    assert isinstance(tokenizer, Tokenizer)
    images = normal(2, *tokenizer.image_shape).clamp(-1, 1)
    tokens = tokenizer.encode(images)
    assert tokens.shape == (2, tokenizer.n_tokens) == (2, 64)
    assert tokens.dtype == torch.int64
    decoded = tokenizer.decode(tokenizer.codebook[tokens])
    assert decoded.shape == images.shape
    assert decoded.abs().max() <= 1


@given(seed=st.integers(0, 999), factor=st.floats(0.01, 100))
def test_only_directions_count(seed, factor):
    """The nearest code is the one of largest cosine, whatever the lengths of features and stored codes."""
    quantizer = UnitQuantizer(9, 3, beta=0.25)
    z = normal(2, 3, 4, 4, seed=seed)
    with torch.no_grad():
        quantizer.embedding.weight.copy_(normal(9, 3, seed=seed + 1))
        tokens = quantizer.encode(z)
        cosine = F.cosine_similarity(z.flatten(2).mT[:, :, None], quantizer.embedding.weight, dim=-1)
        torch.testing.assert_close(cosine.gather(-1, tokens[..., None])[..., 0], cosine.amax(-1))
        torch.testing.assert_close(quantizer.codes().norm(dim=1), torch.ones(9))
        loss = quantizer(z).loss
        quantizer.embedding.weight.mul_(torch.linspace(0.5, 2, 9)[:, None] * factor)
        torch.testing.assert_close(quantizer(z * factor).loss, loss)


def test_latents_reach_the_decoder_as_they_are():
    """A continuous latent is not normalised or snapped on its way to the image."""
    tokenizer = small()
    latents = normal(1, 64, 4)
    want = tokenizer.decoder(tokenizer.post_quant_conv(latents.mT.reshape(1, 4, 8, 8)))
    torch.testing.assert_close(tokenizer.decode(latents), want.clamp(-1, 1))
    assert not torch.allclose(tokenizer.decode(latents), tokenizer.decode(latents * 2))


def test_codebook_follows_training():
    tokenizer = small()
    before = tokenizer.codebook
    with torch.no_grad():
        tokenizer.quantize.embedding.weight[3] = torch.tensor([0.0, 0.0, 5.0, 0.0])
    assert tokenizer.codebook[3].tolist() == [0, 0, 1, 0]
    assert torch.equal(tokenizer.codebook[:3], before[:3])
    assert not tokenizer.codebook.requires_grad


def test_straight_through_and_losses():
    quantizer = UnitQuantizer(16, 4, beta=0.25)
    unit = F.normalize(normal(2, 4, 3, 3), dim=1).requires_grad_()
    out = quantizer(unit)
    codes = quantizer.codes()[out.tokens_BL].transpose(1, 2).reshape(unit.shape)
    torch.testing.assert_close(out.z_BCHW, codes)
    (passed,) = torch.autograd.grad(out.z_BCHW.sum(), unit, retain_graph=True)
    tangent = 1 - unit * unit.sum(1, keepdim=True)  # what normalising leaves of a gradient of ones
    torch.testing.assert_close(passed, tangent.detach())
    torch.testing.assert_close(out.loss, 1.25 * (codes - unit).square().mean())
    (pulled,) = torch.autograd.grad(out.loss, unit, retain_graph=True)
    commitment = 2 * 0.25 * (unit - codes) / unit.numel()
    commitment = commitment - unit * (commitment * unit).sum(1, keepdim=True)
    torch.testing.assert_close(pulled, commitment.detach())
    (moved,) = torch.autograd.grad(out.loss, quantizer.embedding.weight)
    assert moved.abs().sum() > 0


def released(tokenizer, path, used=65536):
    """A file as LlamaGen's training leaves it: a bare state dict within {"model": ...} is another reader's matter."""
    state = tokenizer.state_dict()
    del state["quantize.codebook_used"]
    if used:
        state["quantize.codebook_used"] = torch.zeros(used)
    torch.save(state, path)
    return path


@pytest.mark.parametrize("used", [65536, 100, 0])
def test_loads_released_files_whatever_their_usage_window(tmp_path, used):
    tokenizer = small()
    path = released(tokenizer, tmp_path / "vq.pt", used)
    loaded = load_tokenizer(LlamaGenTokenizerSettings(checkpoint=path, image_size=16), nothing_bundled)
    assert loaded.config == SMALL
    images = normal(2, 1, 16, 16)
    assert torch.equal(loaded.encode(images), tokenizer.encode(images))
    assert torch.equal(
        loaded.decode(loaded.codebook[:, None].expand(-1, 64, -1)),
        tokenizer.decode(tokenizer.codebook[:, None].expand(-1, 64, -1)),
    )
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_image_size_is_the_users_then_the_teachers_then_the_files_own(tmp_path):
    plain = released(small(), tmp_path / "vq.pt")
    own = tmp_path / "vq.safetensors"
    about = {"kind": "llamagen-tokenizer", "config": attrs.asdict(SMALL)}
    write_weights(own, small().state_dict(), about)

    def size(path, image_size=None, side=None):
        settings = LlamaGenTokenizerSettings(checkpoint=path, image_size=image_size)
        return load_tokenizer(settings, nothing_bundled, side=side).config.image_size

    assert size(plain) == 256
    assert size(own) == 16
    assert size(own, side=12) == size(plain, side=12) == 24
    assert size(own, image_size=32, side=12) == size(plain, image_size=32, side=12) == 32
    with pytest.raises(ConfigError, match="image_size=33 must be a multiple of 2"):
        size(plain, image_size=33)


def test_bundled_weights_serve_where_no_path_is_given(tmp_path):
    path = released(small(), tmp_path / "vq.pt")
    bundled = {"llamagen/tokenizer": path}.get
    assert load_tokenizer(LlamaGenTokenizerSettings(), bundled).config.codebook_size == 12
    with pytest.raises(WeightsError, match=r"give tokenizer\.checkpoint=PATH"):
        load_tokenizer(LlamaGenTokenizerSettings(), nothing_bundled)


def test_other_files_are_refused_by_name(tmp_path):
    settings = LlamaGenTokenizerSettings(checkpoint=tmp_path / "x.pt")
    torch.save({"encoder.down.0.block.0.conv1.weight": torch.zeros(3)}, settings.checkpoint)
    message = (
        r"holds taming's VQGAN, and LlamaGen's tokenizer is expected; "
        r"give LlamaGen's vq_ds16_c2i\.pt as tokenizer\.checkpoint=PATH"
    )
    with pytest.raises(WeightsError, match=message):
        load_tokenizer(settings, nothing_bundled)
    state = small().state_dict()
    del state["post_quant_conv.bias"]
    torch.save(state, settings.checkpoint)
    with pytest.raises(
        WeightsError, match=r"does not fit LlamaGen's tokenizer: post_quant_conv\.bias is missing"
    ):
        load_tokenizer(settings, nothing_bundled)
    write_weights(tmp_path / "y.safetensors", small().state_dict(), {"kind": "var-tokenizer", "config": {}})
    with pytest.raises(WeightsError, match="'llamagen-tokenizer' is expected"):
        load_tokenizer(LlamaGenTokenizerSettings(checkpoint=tmp_path / "y.safetensors"), nothing_bundled)


def test_configs_refuse_what_cannot_be_built():
    with pytest.raises(ConfigError, match="image_size=100 must be a multiple of 16"):
        LlamaGenTokenizerConfig(image_size=100)
    with pytest.raises(ConfigError, match="groups=32"):
        LlamaGenTokenizerConfig(ch=40)
