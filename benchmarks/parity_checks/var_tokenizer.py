"""VAR's multi-scale tokenizer: encoding, the running f_hat, decoding, the training pass.

Legend: B batch, L tokens of all scales, C code width, s a scale. Recorded from VAR models/vqvae.py and quant.py.
"""

from collections.abc import Iterator
from itertools import accumulate

import torch
from ardistill_var.tokenizer import VARTokenizer
from golden import Fixture

from parity_checks.calls import Triple, compared, each, in_order, numbered
from parity_checks.var_models import Config, tokenizer_config


def build(info: Config) -> VARTokenizer:
    """The tokenizer that a json describes."""
    return VARTokenizer(tokenizer_config(info["config"]))


def check(fixture: Fixture) -> Iterator[Triple]:
    """Every array of a tokenizer's fixture."""
    model = build(fixture.info)
    fixture.fill(model)
    model.eval()
    if "phi_index_per_scale" in fixture.info:
        ours = model.quantize.quant_resi.index
        yield "phi_index_per_scale", torch.tensor(ours), torch.tensor(fixture.info["phi_index_per_scale"])
    yield from _encoded(fixture, model)
    yield from _given(fixture, model)


def _encoded(fixture: Fixture, model: VARTokenizer) -> Iterator[Triple]:
    image, ends = fixture["image"], list(accumulate(model.step_sizes))
    features = model.features(image)
    yield from compared(fixture, {"enc_out": model.encoder(image), "f": features})
    parts = torch.split(model.encode(image), list(model.step_sizes), dim=1)
    yield from each(fixture, "idx_s", parts.__getitem__)
    rows_BNC = features.flatten(2).transpose(1, 2)
    running = [f_hat.transpose(1, 2).reshape(features.shape) for _, f_hat in model.quantize.scales(rows_BNC)]
    yield from each(fixture, "enc_fhat_s", running.__getitem__)

    codes_BLC = model.codebook[in_order(fixture, "idx_s")]
    yield from each(fixture, "emb_fhat_s", lambda s: model.quantize.map(codes_BLC[:, : ends[s]]))
    unclamped = model.images(model.quantize.map(codes_BLC))
    trained, quantized = model(image)
    yield from compared(
        fixture,
        {
            "var_input": model.quantize.inputs(codes_BLC),
            "rec_image": model.decode(codes_BLC),
            "rec_image_unclamped": unclamped,
            "train_vq_loss": quantized.loss.view(1),
            "train_rec_max_diff_to_unclamped": (trained - unclamped).abs().max().view(1),
        },
    )
    yield from compared(fixture, {"rec_image_unclamped": trained})


def _given(fixture: Fixture, model: VARTokenizer) -> Iterator[Triple]:
    if not numbered(fixture, "given_idx_s"):
        return
    codes_BLC, ends = model.codebook[in_order(fixture, "given_idx_s")], list(accumulate(model.step_sizes))
    parts = torch.split(codes_BLC, list(model.step_sizes), dim=1)
    yield from each(fixture, "given_embed_s", parts.__getitem__)
    yield from each(fixture, "given_fhat_s", lambda s: model.quantize.map(codes_BLC[:, : ends[s]]))
    yield from each(fixture, "given_image_s", lambda s: model.decode(codes_BLC[:, : ends[s]]))
    yield from compared(
        fixture,
        {
            "given_var_input": model.quantize.inputs(codes_BLC),
            "given_fhat_last": model.quantize.map(codes_BLC),
            "given_image_last": model.decode(codes_BLC),
        },
    )
