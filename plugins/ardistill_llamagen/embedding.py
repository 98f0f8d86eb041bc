"""The token table as a function of latents, so that a network of tokens can read what is not a code.

Legend: N any leading shape, V codes, C code width, H hidden width, D model width, v codes of a piece.
Source: DD2 (arXiv 2510.21003), appendix E.4, which fits an MLP to the table before anything else is trained.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HIDDEN_MOST = 4096
_PIECE = 2048  # codes whose hidden units are in memory at once
# Ridges in units of the mean eigenvalue: one that interpolates, and one that keeps the weights small off the codes.
_RIDGE_FEW_CODES = 1e-9
_RIDGE_MANY_CODES = 1e-6
_STEEPNESS = 2.0  # spread of the hidden units' inputs over the codes
_SEED = 0


class LatentEmbedding(nn.Module):
    """Linear, GELU, Linear: (N, C) -> (N, D)."""

    def __init__(self, code_width: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(code_width, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    @classmethod
    @torch.no_grad()
    def fitted(cls, codebook_VC: Tensor, table_VD: Tensor) -> "LatentEmbedding":
        """An MLP with mlp(code j) close to row j of the table, in closed form; the same for the same arguments.

        The first layer is random: its inputs are the codes, centred and of spread 1 along the mean axis, its biases
        spread the units over them. The second is least squares over all codes with a little ridge, in float64. It
        passes through every code where there are no more codes than hidden units, H = min(4 D, 4096).
        """
        C, D = codebook_VC.shape[1], table_VD.shape[1]
        H = min(4 * D, _HIDDEN_MOST)
        codes_VC, target_VD = codebook_VC.double(), table_VD.double()
        mean_C, offset_D = codes_VC.mean(0), target_VD.mean(0)
        spread = (codes_VC - mean_C).square().mean().sqrt().clamp_min(1e-12)
        generator = torch.Generator().manual_seed(_SEED)
        weight_HC = torch.randn(H, C, generator=generator, dtype=torch.float64) * _STEEPNESS / math.sqrt(C)
        bias_H = torch.randn(H, generator=generator, dtype=torch.float64) * _STEEPNESS

        with torch.device("meta"):
            embedding = cls(C, H, D)
        embedding.to_empty(device=codes_VC.device)
        embedding.fc1.weight.copy_(weight_HC.to(codes_VC) / spread)
        embedding.fc1.bias.copy_(bias_H.to(codes_VC) - embedding.fc1.weight.double() @ mean_C)
        rounded_HC, rounded_H = embedding.fc1.weight.double(), embedding.fc1.bias.double()
        weight_HD = _least_squares(
            codes_VC, target_VD - offset_D, lambda codes_vC: F.gelu(F.linear(codes_vC, rounded_HC, rounded_H))
        )
        embedding.fc2.weight.copy_(weight_HD.T)
        embedding.fc2.bias.copy_(offset_D)
        return embedding

    def forward(self, latents_NC: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(latents_NC)))  # type: ignore[no-any-return]

    @torch.no_grad()
    def relative_error(self, codebook_VC: Tensor, table_VD: Tensor) -> float:
        """Root mean square of mlp(codes) - table over the spread of the table; 1 is no better than its mean."""
        error_VD = torch.cat([self(codes_vC) for codes_vC in torch.split(codebook_VC, _PIECE)]) - table_VD
        return float((error_VD.square().mean() / (table_VD - table_VD.mean(0)).square().mean()).sqrt())


def _least_squares(codes_VC: Tensor, target_VD: Tensor, hidden: Callable[[Tensor], Tensor]) -> Tensor:
    """(H, D): argmin_W |hidden(codes) W - target|^2 + ridge |W|^2, by the smaller of the two normal equations."""
    pieces = torch.split(codes_VC, _PIECE)
    n_codes, n_hidden = len(codes_VC), hidden(codes_VC[:1]).shape[1]
    if n_codes <= n_hidden:
        h_VH = torch.cat([hidden(codes_vC) for codes_vC in pieces])
        return h_VH.T @ _solved(h_VH @ h_VH.T, target_VD, _RIDGE_FEW_CODES)
    gram_HH = codes_VC.new_zeros(n_hidden, n_hidden)
    moment_HD = codes_VC.new_zeros(n_hidden, target_VD.shape[1])
    for codes_vC, target_vD in zip(pieces, torch.split(target_VD, _PIECE), strict=True):
        h_vH = hidden(codes_vC)
        gram_HH.addmm_(h_vH.T, h_vH)
        moment_HD.addmm_(h_vH.T, target_vD)
    return _solved(gram_HH, moment_HD, _RIDGE_MANY_CODES)


def _solved(gram_NN: Tensor, right_ND: Tensor, ridge: float) -> Tensor:
    """(gram + ridge)^-1 right; overwrites gram."""
    gram_NN.diagonal().add_(ridge * gram_NN.diagonal().mean())
    return torch.cholesky_solve(right_ND, torch.linalg.cholesky(gram_NN))
