"""The multi-scale residual quantizer: each scale encodes what the scales before it left over.

Legend: B batch, C code width, V codes, s a scale with n = pn*pn tokens, N = H*W positions of the largest
scale, L tokens of all scales, S scales, K phi convolutions. Source: VAR models/quant.py:VectorQuantizer2.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import cast

import torch
import torch.nn.functional as F
from ardistill_vqgan.quantizer import Quantized, nearest_codes
from torch import Tensor, nn

from ardistill_var.config import VARTokenizerConfig
from ardistill_var.scales import ScalePyramid, phi_index
from ardistill_var.structure import settled


def phi_names(n_convs: int, n_scales: int) -> list[str]:
    """The convolutions' names by upstream's `share_quant_resi`: 0 is one a scale, 1 one for all, else so many."""
    if n_convs == 1:
        return ["qresi"]
    return [f"qresi_ls.{k}" for k in range(n_convs)] or [str(s) for s in range(n_scales)]


class SharedPhi(nn.Module):
    """K residual 3x3 convolutions for S scales: phi(h) = (1 - r) h + r conv(h)."""

    def __init__(self, channels: int, n_convs: int, n_scales: int, ratio: float) -> None:
        super().__init__()
        self.names = phi_names(n_convs, n_scales)
        if n_convs > 1:
            self.qresi_ls = nn.Module()
        for name in self.names:
            above, _, own = name.rpartition(".")
            self.get_submodule(above).add_module(own, nn.Conv2d(channels, channels, 3, padding=1))
        self.index = phi_index(n_scales, len(self.names))
        self.ratio = ratio

    def convs(self) -> list[nn.Conv2d]:
        """The K convolutions, in the order of the scales they serve."""
        return [cast("nn.Conv2d", self.get_submodule(name)) for name in self.names]

    def forward(self, scale: int) -> tuple[Tensor, Tensor]:
        """Weight (C, C, 3, 3) and bias (C,) of one plain convolution that equals phi at this scale."""
        conv = cast("nn.Conv2d", self.get_submodule(self.names[self.index[scale]]))
        assert conv.bias is not None
        identity_CC = torch.eye(len(conv.weight), device=conv.weight.device, dtype=conv.weight.dtype)
        residual_CC33 = F.pad(identity_CC[:, :, None, None], (1, 1, 1, 1))
        return torch.lerp(residual_CC33, conv.weight, self.ratio), conv.bias * self.ratio


class MultiScaleQuantizer(nn.Module):
    """Features (B, C, H, W) <-> tokens of all scales, in order of emission."""

    ema_vocab_hit_SV: Tensor

    def __init__(self, config: VARTokenizerConfig) -> None:
        super().__init__()
        n_scales = len(config.patch_nums)
        self.embedding = nn.Embedding(config.vocab, config.z_channels)
        self.quant_resi = SharedPhi(config.z_channels, config.share_quant_resi, n_scales, config.quant_resi)
        self.pyramid = ScalePyramid(config.patch_nums)
        self.cosine = config.using_znorm
        self.beta = config.beta
        # Training statistics of the released checkpoint; kept for its state dict, used by nothing here.
        hits_SV = torch.zeros(n_scales, config.vocab, device="cpu")
        self.register_buffer("ema_vocab_hit_SV", settled(hits_SV))

    def encode(self, f_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens (B, L) int64."""
        with torch.no_grad():
            return torch.cat([tokens_Bn for tokens_Bn, _ in self.scales(_rows(f_BCHW))], dim=1)

    def map(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> f_hat (B, C, H, W), what the decoder reads; fewer scales give a partial sum."""
        ends = list(accumulate(self.pyramid.sizes))
        n_scales = 1 + ends.index(latents_BLC.shape[1])
        return _maps(self.pyramid.cumulate(latents_BLC, self.quant_resi, n_scales)[-1])

    def inputs(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> the transformer's input (B, L - n_0, C) of all scales but the first."""
        return self.pyramid.inputs(latents_BLC, self.quant_resi)

    def nearest(self, z_BnC: Tensor) -> Tensor:
        """(B, n, C) -> the nearest codes (B, n)."""
        tokens_N = nearest_codes(z_BnC.flatten(0, 1), self.embedding.weight, cosine=self.cosine)
        return tokens_N.view(z_BnC.shape[:2])

    def scales(self, f_BNC: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Encodes scale by scale: tokens (B, n) and the running f_hat (B, N, C), which carries gradients."""
        rest_BNC = f_BNC.detach()
        sum_BNC = torch.zeros_like(rest_BNC)
        for s in range(len(self.pyramid.sizes)):
            z_BnC = self.pyramid.down(rest_BNC, s)
            tokens_Bn = self.nearest(z_BnC)
            added_BNC = self.pyramid.contribution(self.embedding(tokens_Bn), s, self.quant_resi)
            rest_BNC = rest_BNC - added_BNC.detach()
            sum_BNC = sum_BNC + added_BNC
            yield tokens_Bn, sum_BNC

    def forward(self, f_BCHW: Tensor) -> Quantized:
        """Training. The loss is the mean over scales of beta |sg[f_hat_s] - f|^2 + |f_hat_s - sg[f]|^2."""
        f_BNC = _rows(f_BCHW)
        tokens: list[Tensor] = []
        loss = f_BNC.new_zeros(())
        sum_BNC = f_BNC
        for tokens_Bn, sum_BNC in self.scales(f_BNC):
            commitment = (sum_BNC.detach() - f_BNC).square().mean()
            loss = loss + self.beta * commitment + (sum_BNC - f_BNC.detach()).square().mean()
            tokens.append(tokens_Bn)
        straight_BNC = f_BNC + (sum_BNC - f_BNC).detach()
        return Quantized(_maps(straight_BNC), loss / len(tokens), torch.cat(tokens, dim=1))


def _rows(f_BCHW: Tensor) -> Tensor:
    return f_BCHW.flatten(2).transpose(1, 2)


def _maps(f_BNC: Tensor) -> Tensor:
    side = round(f_BNC.shape[1] ** 0.5)
    return f_BNC.transpose(1, 2).reshape(len(f_BNC), -1, side, side)
