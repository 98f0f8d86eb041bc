"""The multi-scale quantizer: its training pass and its codebook's training help."""

import pytest
import torch
from ardistill_var.config import VARConfig, VARTokenizerConfig
from ardistill_var.initialise import initialise
from ardistill_var.quantizer import MultiScaleQuantizer
from ardistill_var.quantizer_training import initialise_codebook, restart_codes, scale_residuals
from ardistill_var.transformer import VAR
from ardistill_vqgan.quantizer_training import code_usage
from ardistill_vqgan.quantizer_training import initialise as initialise_tokenizer

from ardistill.errors import ConfigError


def quantizer() -> MultiScaleQuantizer:
    config = VARTokenizerConfig(patch_nums=(1, 2, 4), vocab=32, z_channels=5, share_quant_resi=3)
    made = MultiScaleQuantizer(config)
    initialise_tokenizer(made, seed=0)
    return made


def features(seed: int = 0, batch: int = 40) -> torch.Tensor:
    return torch.randn(batch, 5, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def error(model: MultiScaleQuantizer, f: torch.Tensor) -> float:
    codes = model.embedding(model.encode(f))
    return float((model.map(codes) - f).square().mean().item())


def test_training_pass_agrees_with_encode_and_map() -> None:
    model, f = quantizer(), features().requires_grad_()
    out = model(f)
    assert torch.equal(out.tokens_BL, model.encode(f))
    torch.testing.assert_close(out.z_BCHW, model.map(model.embedding(out.tokens_BL)))
    (passed,) = torch.autograd.grad(out.z_BCHW.sum(), f, retain_graph=True)
    torch.testing.assert_close(passed, torch.ones_like(f))
    out.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.ndim > 1)


def test_kmeans_initialisation_lowers_the_error() -> None:
    model, f = quantizer(), features()
    before = error(model, f)
    initialise_codebook(model, f, seed=1)
    assert error(model, f) < 0.7 * before
    codes = model.embedding.weight.clone()
    initialise_codebook(model, f, seed=1)
    assert torch.equal(codes, model.embedding.weight)


def test_every_scale_may_get_as_many_codes() -> None:
    """Where one scale's vectors spread far wider, k-means over all of them leaves the others few codes."""
    model, f = (
        quantizer(),
        features() + 50 * torch.randn(40, 5, 1, 1, generator=torch.Generator().manual_seed(1)),
    )
    shared, apart = [], []
    for conv in model.quant_resi.convs():  # the identity, so that the first scale leaves the others little
        torch.nn.init.dirac_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    for by_scale, codes in ((False, shared), (True, apart)):
        initialise_codebook(model, f, seed=1, rounds=1, by_scale=by_scale)
        codes.append(model.embedding.weight.norm(dim=1) < 20)  # those fit for the later scales
    assert model.embedding.weight.shape == (32, 5)
    assert shared[0].sum() < 16
    assert apart[0].sum() >= 20  # 10 or 11 a scale, 32 in all


def test_residuals_are_what_encode_sees() -> None:
    model, f = quantizer(), features()
    tokens = [model.nearest(z) for z in scale_residuals(model, f)]
    assert torch.equal(torch.cat(tokens, dim=1), model.encode(f))
    ideal = scale_residuals(model, f, exact=True)
    torch.testing.assert_close(ideal[0].squeeze(1), f.mean((2, 3)))


def test_dead_codes_come_back() -> None:
    model, f = quantizer(), features()
    with torch.no_grad():
        model.embedding.weight[8:] += 100.0  # out of everyone's reach
    tokens = model.encode(f)
    moved = restart_codes(model, f, tokens, seed=3)
    assert torch.equal(moved, code_usage(tokens, 32) == 0)
    used = code_usage(model.encode(f), 32) > 0
    assert used.sum() > (~moved).sum()


def test_seeded_weights_ignore_the_global_generator() -> None:
    for shared in (False, True):
        config = VARConfig(depth=2, width=16, heads=2, patch_nums=(1, 2), vocab=8, shared_aln=shared)
        models = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            models.append(VAR(config))
            initialise(models[-1], seed=5)
        for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
            assert torch.equal(a, b)


def test_configs_refuse_what_cannot_be_built() -> None:
    with pytest.raises(ConfigError, match="largest scale"):
        VARTokenizerConfig(patch_nums=(1, 4, 2))
    with pytest.raises(ConfigError, match="heads=3"):
        VARConfig(width=64, heads=3)
