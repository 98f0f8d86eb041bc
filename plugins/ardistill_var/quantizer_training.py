"""Help for training the multi-scale codebook.

Legend: B batch, C code width, H W sides of f, n tokens of a scale, N vectors, V codes, L tokens, S scales.
"""

import torch
from ardistill_vqgan.quantizer_training import code_usage, kmeans, pick_rows, restart_dead_codes
from torch import Tensor

from ardistill_var.quantizer import MultiScaleQuantizer


@torch.no_grad()
def scale_residuals(quantizer: MultiScaleQuantizer, f_BCHW: Tensor, *, exact: bool = False) -> list[Tensor]:
    """What each scale has to encode, (B, n, C) per scale, given the codes chosen by the scales before.

    With `exact`, every scale's vectors are taken as they are instead of their nearest codes: the residuals of
    an ideal codebook, for when there is none yet.
    """
    rest_BNC = f_BCHW.flatten(2).transpose(1, 2)
    residuals: list[Tensor] = []
    for s in range(len(quantizer.pyramid.sizes)):
        z_BnC = quantizer.pyramid.down(rest_BNC, s)
        residuals.append(z_BnC)
        code_BnC = z_BnC if exact else quantizer.embedding(quantizer.nearest(z_BnC))
        rest_BNC = rest_BNC - quantizer.pyramid.contribution(code_BnC, s, quantizer.quant_resi)
    return residuals


def pooled(residuals: list[Tensor], per_scale: int, seed: int) -> Tensor:
    """(S * per_scale, C): the same number of vectors from every scale.

    Small scales have few tokens, but each of them covers much of the image.
    """
    rows = [pick_rows(z_BnC.flatten(0, 1), per_scale, seed + s) for s, z_BnC in enumerate(residuals)]
    return torch.cat(rows)


@torch.no_grad()
def initialise_codebook(
    quantizer: MultiScaleQuantizer,
    f_BCHW: Tensor,
    *,
    seed: int,
    per_scale: int = 4096,
    rounds: int = 3,
    by_scale: bool = False,
) -> None:
    """Sets the codebook by k-means over the residuals of all scales, in place.

    What a scale has to encode depends on the codes before it, so the residuals are taken anew in every round.
    With `by_scale` every scale gets as many codes of its own (the first ones one more where they don't divide);
    else scales whose vectors spread wider get more.
    """
    n_codes = len(quantizer.embedding.weight)
    for turn in range(rounds):
        residuals = scale_residuals(quantizer, f_BCHW, exact=turn == 0)
        shares = [residuals]
        if by_scale:
            shares = [[residual_BnC] for residual_BnC in residuals]
        count, drawn = min(per_scale, residuals[-1].shape[:2].numel()), seed + 1000 * turn
        codes = [
            kmeans(
                pooled(share, count, drawn), (n_codes + len(shares) - 1 - s) // len(shares), seed=seed + turn
            )
            for s, share in enumerate(shares)
        ]
        quantizer.embedding.weight.copy_(torch.cat(codes))


@torch.no_grad()
def restart_codes(
    quantizer: MultiScaleQuantizer,
    f_BCHW: Tensor,
    tokens_BL: Tensor,
    *,
    seed: int,
    threshold: float = 1.0,
    usage_V: Tensor | None = None,
) -> Tensor:
    """Moves codes used less than `threshold` times onto residuals drawn with the seed; (V,) bool: which.

    Usage is counted in `tokens_BL` unless a count over more batches is given.
    """
    if usage_V is None:
        usage_V = code_usage(tokens_BL, len(quantizer.embedding.weight))
    residuals = scale_residuals(quantizer, f_BCHW)
    x_NC = pooled(residuals, residuals[-1].shape[:2].numel(), seed)
    return restart_dead_codes(quantizer.embedding.weight, usage_V, x_NC, seed=seed, threshold=threshold)
