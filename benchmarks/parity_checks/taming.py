"""taming's VQGAN: encoding, decoding, the quantizer's loss.

Recorded from taming-transformers models/vqgan.py:VQModel.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ardistill_vqgan.config import TamingConfig
from ardistill_vqgan.taming import TamingVQGAN
from golden import Fixture
from torch import Tensor

from parity_checks.calls import Triple, compared


def taming_config(config: Mapping[str, Any]) -> TamingConfig:
    """`ddconfig` describes the convolutions, `n_embed` and `embed_dim` the codebook."""
    names = ("resolution", "attn_resolutions", "ch", "ch_mult", "num_res_blocks", "in_channels", "z_channels")
    convolutions = config.get("ddconfig", config)
    said = {name: convolutions[name] for name in names if name in convolutions}
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in said.items()
    }
    if "beta" in config:
        plain["beta"] = config["beta"]
    return TamingConfig(vocab=config["n_embed"], code_width=config["embed_dim"], **plain)


def build(info: Mapping[str, Any]) -> TamingVQGAN:
    """The VQGAN that a json describes."""
    return TamingVQGAN(taming_config(info["config"]))


def check(fixture: Fixture) -> Iterator[Triple]:
    """Every array of a VQGAN's fixture."""
    model = build(fixture.info)
    fixture.fill(model)
    model.eval()
    side = model.config.latent_side

    def as_map(latents_BLC: Tensor) -> Tensor:
        return latents_BLC.transpose(1, 2).reshape(len(latents_BLC), -1, side, side)

    image = fixture["image"]
    trained, quantized = model(image)
    yield from compared(
        fixture,
        {
            "z": model.features(image),
            "idx": model.encode(image),
            "quant": quantized.z_BCHW,
            "rec_image": trained,
            "commit_loss": quantized.loss.view(1),
        },
    )
    codes_BLC = model.codebook[fixture["idx"]]
    yield from compared(fixture, {"quant": as_map(codes_BLC), "rec_image": model.images(as_map(codes_BLC))})
    if "given_idx" in fixture:
        given_BLC = model.codebook[fixture["given_idx"]]
        images = {"given_quant": as_map(given_BLC), "given_image": model.images(as_map(given_BLC))}
        yield from compared(fixture, images)
        for name, image, want in compared(fixture, {"given_image": model.decode(given_BLC)}):
            yield name, image, want.clamp(-1, 1)
