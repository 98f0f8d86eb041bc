"""LlamaGenTokenizer against numbers recorded from LlamaGen's VQModel."""

import pytest
import torch
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import VQ_8, VQ_16, LlamaGenTokenizerConfig

from tests.golden import Fixture, check_full_keys, close, fill, load

UPSTREAM_TOKENS = """
2f2b0d33023b08221b31391d002d3e3829203f0037232e31153937123907020c2d10203923281e2e2309293a2820053b13262b3b
120a242218111d052215312138232a0d1507323627321e14360e0e383f17272c0136171c31313e34201f390622391b363f383639
283d343730322600102a220d3717051730312d2605170412033e152c2c28191e1a181604361837310b141d112f2a151b252c0f2a
0d032f0e29042e2e1a0a3e23181d003537282128211b37061e27192800041c0d183e1f133a222038332c3a1304043a1d1f38310c
002d2b341c003702270614260910301e04242012002d2802261101362b0c0e1304000a123b3b1a3b25243c2e28151618
"""


@pytest.fixture(scope="module")
def golden() -> Fixture:
    return load("llamagen_vq")


@pytest.fixture(scope="module")
def model(golden: Fixture) -> LlamaGenTokenizer:
    model = LlamaGenTokenizer(tiny())
    golden.fill(model)
    return model.eval()


def tiny() -> LlamaGenTokenizerConfig:
    return LlamaGenTokenizerConfig(codebook_size=64, z_channels=64, ch=32, ch_mult=(1, 2, 4), image_size=64)


@torch.no_grad()
def test_encodes_as_upstream(golden: Fixture, model: LlamaGenTokenizer) -> None:
    z = model.features(golden["image"])
    close(z, golden["z"])
    assert torch.equal(model.encode(golden["image"]), golden["idx"])
    close(model.codebook, golden["codebook_normalised"])
    close(model.map(model.codebook[golden["idx"]]), golden["quant"])


@torch.no_grad()
def test_decodes_as_upstream(golden: Fixture, model: LlamaGenTokenizer) -> None:
    codes = model.codebook[golden["idx"]]
    close(model.images(model.map(codes)), golden["rec_image"])
    close(model.images(model.map(codes)), golden["rec_image_from_code"])
    close(model.decode(codes), golden["rec_image"].clamp(-1, 1))
    given = model.codebook[golden["given_idx"]]
    close(model.map(given), golden["given_quant"])
    close(model.images(model.map(given)), golden["given_image"])
    assert golden["given_image"].abs().max() > 1  # so that the clamping is seen
    close(model.decode(given), golden["given_image"].clamp(-1, 1))


@torch.no_grad()
def test_trains_as_upstream(golden: Fixture, model: LlamaGenTokenizer) -> None:
    rec, quantized = model(golden["image"])
    close(rec, golden["rec_image"])
    close(quantized.z_BCHW, golden["quant"])
    assert torch.equal(quantized.tokens_BL, golden["idx"])
    close(quantized.loss.view(1), golden["train_vq_loss"] + golden["train_commit_loss"])


def test_released_keys() -> None:
    with torch.device("meta"):
        model = LlamaGenTokenizer(VQ_16)
    check_full_keys("llamagen_vq16", model)


def test_released_sizes() -> None:
    for config, millions, tokens in ((VQ_16, 71.88, 256), (VQ_8, 70.11, 1024)):
        with torch.device("meta"):
            model = LlamaGenTokenizer(config)
        n_params = sum(parameter.numel() for parameter in model.parameters())
        assert round(n_params / 1e6, 2) == millions
        assert model.n_tokens == tokens
        assert model.image_shape == (3, 256, 256)


@torch.no_grad()
def test_embedded_numbers() -> None:
    """The same parity in a few numbers that travel with the repository (fixture `llamagen_vq`)."""
    model = LlamaGenTokenizer(tiny()).eval()
    fill(model, 0)
    tokens = torch.tensor(list(bytes.fromhex(UPSTREAM_TOKENS)))[None]
    pixels = model.decode(model.codebook[tokens])[0, :, 0, ::21]
    want = [
        [-0.330315, -0.336140, -0.630676, -0.279257],
        [-0.164874, 0.136951, -0.038766, -0.424584],
        [-0.462142, -0.193379, -0.638442, -0.605669],
    ]
    torch.testing.assert_close(pixels, torch.tensor(want), atol=1e-4, rtol=1e-4)
