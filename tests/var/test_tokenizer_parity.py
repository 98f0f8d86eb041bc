"""VARTokenizer against numbers recorded from VAR's VQVAE."""

import json

import pytest
import torch
from ardistill_var.config import VARTokenizerConfig
from ardistill_var.scales import phi_index
from ardistill_var.tokenizer import VARTokenizer

from tests.golden import ROOT, Fixture, check_full_keys, close, load
from tests.var.models import tiny_tokenizer_config

SCALES = range(4)


@pytest.fixture(scope="module")
def golden() -> Fixture:
    return load("var_vqvae")


@pytest.fixture(scope="module")
def model(golden: Fixture) -> VARTokenizer:
    model = VARTokenizer(tiny_tokenizer_config())
    golden.fill(model)
    return model.eval()


@torch.no_grad()
def test_encodes_as_upstream(golden: Fixture, model: VARTokenizer) -> None:
    close(model.encoder(golden["image"]), golden["enc_out"])
    features = model.features(golden["image"])
    close(features, golden["f"])
    tokens = torch.cat([golden[f"idx_s{s}"] for s in SCALES], dim=1)
    assert torch.equal(model.encode(golden["image"]), tokens)
    rows = features.flatten(2).transpose(1, 2)
    for s, (_, f_hat) in enumerate(model.quantize.scales(rows)):
        close(f_hat.transpose(1, 2).reshape(features.shape), golden[f"enc_fhat_s{s}"])


@torch.no_grad()
def test_trains_as_upstream(golden: Fixture, model: VARTokenizer) -> None:
    rec, quantized = model(golden["image"])
    close(rec, golden["rec_image_unclamped"])
    close(rec.clamp(-1, 1), golden["rec_image"])
    close(quantized.loss.view(1), golden["train_vq_loss"])


@torch.no_grad()
def test_cumulates_as_upstream(golden: Fixture, model: VARTokenizer) -> None:
    codes = model.codebook[torch.cat([golden[f"idx_s{s}"] for s in SCALES], dim=1)]
    close(model.quantize.inputs(codes), golden["var_input"])
    for s in SCALES:
        length = sum(model.step_sizes[: s + 1])
        close(model.quantize.map(codes[:, :length]), golden[f"emb_fhat_s{s}"])


@torch.no_grad()
def test_decodes_given_tokens_as_upstream(golden: Fixture, model: VARTokenizer) -> None:
    tokens = [golden[f"given_idx_s{s}"] for s in SCALES]
    codes = model.codebook[torch.cat(tokens, dim=1)]
    for s, part in enumerate(torch.split(codes, list(model.step_sizes), dim=1)):
        close(part, golden[f"given_embed_s{s}"])
    close(model.quantize.inputs(codes), golden["given_var_input"])
    close(model.quantize.map(codes), golden["given_fhat_last"])
    close(model.decode(codes), golden["given_image_last"])
    close(model.decode(codes[:, :1]), golden["given_image_s0"])


def test_released_keys() -> None:
    with torch.device("meta"):
        model = VARTokenizer(VARTokenizerConfig())
    check_full_keys("var_vqvae_ch160v4096z32", model)


def test_phi_sharing_of_every_depth() -> None:
    path = ROOT / "var_phi_pattern.json"
    if not path.exists():
        pytest.skip(f"the parity fixtures are not here ({path})")
    for n_scales, pattern in json.loads(path.read_text())["patterns"].items():
        assert phi_index(int(n_scales), 4) == tuple(pattern)
