"""TamingVQGAN against numbers recorded from taming-transformers."""

import pytest
import torch
from ardistill_vqgan.config import TamingConfig
from ardistill_vqgan.taming import TamingVQGAN

from tests.golden import Fixture, check_full_keys, close, fill, load

UPSTREAM_TOKENS = """
40 59 8 53 56 44 48 10 44 7 3 53 60 31 41 31 23 54 56 20 4 52 63 40 13 61 53 45 57 25 16 20
23 43 63 28 49 2 26 57 21 49 11 30 33 4 28 36 38 60 25 33 41 16 42 41 13 32 28 27 35 43 56 29
"""


@pytest.fixture(scope="module")
def golden() -> Fixture:
    return load("taming_vqgan")


@pytest.fixture(scope="module")
def model(golden: Fixture) -> TamingVQGAN:
    model = TamingVQGAN(tiny(golden.config["n_embed"]))
    golden.fill(model)
    return model.eval()


def tiny(vocab: int) -> TamingConfig:
    return TamingConfig(
        vocab=vocab,
        code_width=32,
        resolution=32,
        attn_resolutions=(8,),
        ch=32,
        ch_mult=(1, 2, 4),
        z_channels=32,
    )


@torch.no_grad()
def test_encodes_as_upstream(golden: Fixture, model: TamingVQGAN) -> None:
    close(model.features(golden["image"]), golden["z"])
    assert torch.equal(model.encode(golden["image"]), golden["idx"])
    rec, quantized = model(golden["image"])
    close(rec, golden["rec_image"])
    close(quantized.z_BCHW, golden["quant"])
    close(quantized.loss.view(1), golden["commit_loss"])


@torch.no_grad()
def test_decodes_as_upstream(golden: Fixture, model: TamingVQGAN) -> None:
    latents = model.codebook[golden["given_idx"]]
    close(latents.transpose(1, 2).reshape(golden["given_quant"].shape), golden["given_quant"])
    close(model.decode(latents), golden["given_image"].clamp(-1, 1))


def test_released_keys() -> None:
    with torch.device("meta"):
        model = TamingVQGAN(TamingConfig())
    check_full_keys("taming_vqgan_imagenet_f16_16384", model)


@torch.no_grad()
def test_embedded_numbers() -> None:
    """The same parity in a few numbers that travel with the repository (fixture `taming_vqgan`)."""
    model = TamingVQGAN(tiny(64)).eval()
    fill(model, 0)
    tokens = torch.tensor([int(word) for word in UPSTREAM_TOKENS.split()])[None]
    pixels = model.decode(model.codebook[tokens])[0, :, 0, ::9]
    want = [
        [0.176923, -0.033243, 0.345016, 0.012468],
        [0.176299, 0.150166, 0.332899, 0.271998],
        [-0.107151, 0.112987, 0.450934, 0.045386],
    ]
    torch.testing.assert_close(pixels, torch.tensor(want), atol=1e-4, rtol=1e-4)
