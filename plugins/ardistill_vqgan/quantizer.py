"""Nearest-code search and the single-scale quantizer.

Legend: B batch, N vectors, V codes, C code width, H W sides of the token map, L = H*W tokens (row-major).
Source: taming-transformers modules/vqvae/quantize.py:VectorQuantizer2.
"""

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SCORES_AT_ONCE = 1 << 25  # at most this many (vector, code) scores in memory, 128 MiB in float32


def nearest_codes(z_NC: Tensor, codebook_VC: Tensor, *, cosine: bool = False) -> Tensor:
    """(N, C) vectors -> (N,) int64 indices of the nearest codes by squared L2, or by cosine similarity.

    |z - e|^2 = |z|^2 - 2 z.e + |e|^2 needs one matrix product and no (N, V, C) tensor; |z|^2 is the same for
    all codes, and left out.
    """
    z_NC, codebook_VC = z_NC.detach().float(), codebook_VC.detach().float()
    if cosine:
        z_NC, codebook_VC = F.normalize(z_NC, dim=-1), F.normalize(codebook_VC, dim=-1)
        offset_V = codebook_VC.new_zeros(len(codebook_VC))
    else:
        offset_V = codebook_VC.square().sum(1)
    factor_CV = codebook_VC.t()
    rows = max(1, _SCORES_AT_ONCE // len(codebook_VC))
    parts = [torch.addmm(offset_V, z_nC, factor_CV, alpha=-2.0).argmin(1) for z_nC in torch.split(z_NC, rows)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@attrs.frozen(eq=False)
class Quantized:
    """The quantizer's training output.

    `z_BCHW` carries the straight-through gradient, `loss` is a scalar, `tokens_BL` are the codes' indices.
    """

    z_BCHW: Tensor
    loss: Tensor
    tokens_BL: Tensor


class SingleScaleQuantizer(nn.Module):
    """One codebook, one map of tokens.

    Legacy loss as released: the codebook term is weighed by beta and the commitment term by 1,
    mean((sg[zq] - z)^2) + beta mean((zq - sg[z])^2).
    """

    def __init__(self, vocab: int, code_width: int, beta: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, code_width)
        self.beta = beta

    def encode(self, z_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens (B, L)."""
        z_NC = z_BCHW.permute(0, 2, 3, 1).reshape(-1, z_BCHW.shape[1])
        return nearest_codes(z_NC, self.embedding.weight).view(len(z_BCHW), -1)

    def forward(self, z_BCHW: Tensor) -> Quantized:
        tokens_BL = self.encode(z_BCHW)
        zq_BCHW = self.embedding(tokens_BL).transpose(1, 2).reshape(z_BCHW.shape)
        commitment = (zq_BCHW.detach() - z_BCHW).square().mean()
        codebook = (zq_BCHW - z_BCHW.detach()).square().mean()
        straight_BCHW = z_BCHW + (zq_BCHW - z_BCHW).detach()
        return Quantized(straight_BCHW, commitment + self.beta * codebook, tokens_BL)
