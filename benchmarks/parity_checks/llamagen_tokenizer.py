"""LlamaGen's VQ tokenizer: encoding, decoding, the training losses.

Recorded from LlamaGen tokenizer/tokenizer_image/vq_model.py:VQModel.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch.nn.functional as F
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from golden import Fixture

from parity_checks.calls import Triple, compared


def tokenizer_config(config: Mapping[str, Any]) -> LlamaGenTokenizerConfig:
    """Names as upstream's constructor has them; `image` is the side in pixels."""
    names = ("codebook_size", "codebook_embed_dim", "z_channels", "ch", "ch_mult", "num_res_blocks", "beta")
    said = {name: config[name] for name in names if name in config}
    said["ch_mult"] = tuple(said.get("ch_mult", LlamaGenTokenizerConfig().ch_mult))
    size = {"image_size": config["image"]} if "image" in config else {}
    return LlamaGenTokenizerConfig(**said, **size)


def build(info: Mapping[str, Any]) -> LlamaGenTokenizer:
    """The tokenizer that a json describes."""
    return LlamaGenTokenizer(tokenizer_config(info["config"]))


def check(fixture: Fixture) -> Iterator[Triple]:
    """Every array of a tokenizer's fixture."""
    model = build(fixture.info)
    fixture.fill(model)
    model.eval()
    image = fixture["image"]
    features = model.features(image)
    trained, quantized = model(image)
    tokens_BL = model.encode(image)
    # The codebook's term by itself; the other is what it leaves of our loss.
    apart = (model.map(model.codebook[tokens_BL]) - F.normalize(features, dim=1)).square().mean()
    yield from compared(
        fixture,
        {
            "codebook_normalised": model.codebook,
            "z": features,
            "idx": tokens_BL,
            "quant": quantized.z_BCHW,
            "rec_image": trained,
            "train_vq_loss": apart.view(1),
            "train_commit_loss": (quantized.loss - apart).view(1),
        },
    )
    codes_BLC = model.codebook[fixture["idx"]]
    yield from compared(
        fixture, {"quant": model.map(codes_BLC), "rec_image_from_code": model.images(model.map(codes_BLC))}
    )
    if "given_idx" in fixture:
        given_BLC = model.codebook[fixture["given_idx"]]
        images = {"given_quant": model.map(given_BLC), "given_image": model.images(model.map(given_BLC))}
        yield from compared(fixture, images)
        for name, image, want in compared(fixture, {"given_image": model.decode(given_BLC)}):
            yield name, image, want.clamp(-1, 1)
