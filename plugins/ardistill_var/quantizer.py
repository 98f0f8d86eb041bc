"""The multi-scale residual quantizer: each scale encodes what the scales before it left over.

Legend: B batch, R rows, one a panel (B of them where an image is one panel, see `scales`), C code width, V codes, s a
scale with n = pn*pn tokens, N = H*W positions of the largest scale, L tokens of an image, S scales, K phi convolutions.
Source: VAR models/quant.py:VectorQuantizer2.
"""

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from ardistill_vqgan.quantizer import Quantized, nearest_codes
from torch import Tensor, nn

from ardistill_var.config import VARTokenizerConfig
from ardistill_var.running import teacher_inputs
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
    """Features of panels (R, C, H, W) <-> tokens of images (B, L), in order of emission."""

    ema_vocab_hit_SV: Tensor

    def __init__(self, config: VARTokenizerConfig) -> None:
        super().__init__()
        n_scales = len(config.patch_nums)
        self.embedding = nn.Embedding(config.vocab, config.z_channels)
        self.quant_resi = SharedPhi(config.z_channels, config.share_quant_resi, n_scales, config.quant_resi)
        self.pyramid = ScalePyramid(config.patch_nums, config.panels)
        self.cosine = config.using_znorm
        self.beta = config.beta
        # Training statistics of the released checkpoint; kept for its state dict, used by nothing here.
        hits_SV = torch.zeros(n_scales, config.vocab, device="cpu")
        self.register_buffer("ema_vocab_hit_SV", settled(hits_SV))

    def encode(self, f_RCHW: Tensor) -> Tensor:
        """(R, C, H, W) -> tokens (B, L) int64."""
        with torch.no_grad():
            tokens_Rl = torch.cat([tokens_Rn for tokens_Rn, _ in self.scales(_rows(f_RCHW))], dim=1)
        return self.pyramid.in_order(tokens_Rl)

    def map(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> f_hat (R, C, H, W), what the decoder reads; fewer scales give a partial sum."""
        return _maps(self.pyramid.total(latents_BLC, self.quant_resi))

    def inputs(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> the transformer's input (B, L - n_0, C) of all steps but the first."""
        return teacher_inputs(self.pyramid, latents_BLC, self.quant_resi)

    def nearest(self, z_RnC: Tensor) -> Tensor:
        """(R, n, C) -> the nearest codes (R, n)."""
        tokens_N = nearest_codes(z_RnC.flatten(0, 1), self.embedding.weight, cosine=self.cosine)
        return tokens_N.view(z_RnC.shape[:2])

    def scales(self, f_RNC: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Encodes scale by scale: tokens (R, n) and the running f_hat (R, N, C), which carries gradients."""
        rest_RNC = f_RNC.detach()
        sum_RNC = torch.zeros_like(rest_RNC)
        for s in range(len(self.pyramid.sizes)):
            z_RnC = self.pyramid.down(rest_RNC, s)
            tokens_Rn = self.nearest(z_RnC)
            added_RNC = self.pyramid.contribution(self.embedding(tokens_Rn), s, self.quant_resi)
            rest_RNC = rest_RNC - added_RNC.detach()
            sum_RNC = sum_RNC + added_RNC
            yield tokens_Rn, sum_RNC

    def forward(self, f_RCHW: Tensor) -> Quantized:
        """Training. The loss is the mean over scales of beta |sg[f_hat_s] - f|^2 + |f_hat_s - sg[f]|^2."""
        f_RNC = _rows(f_RCHW)
        tokens: list[Tensor] = []
        loss = f_RNC.new_zeros(())
        sum_RNC = f_RNC
        for tokens_Rn, sum_RNC in self.scales(f_RNC):
            commitment = (sum_RNC.detach() - f_RNC).square().mean()
            loss = loss + self.beta * commitment + (sum_RNC - f_RNC.detach()).square().mean()
            tokens.append(tokens_Rn)
        straight_RNC = f_RNC + (sum_RNC - f_RNC).detach()
        tokens_BL = self.pyramid.in_order(torch.cat(tokens, dim=1))
        return Quantized(_maps(straight_RNC), loss / len(tokens), tokens_BL)


def _rows(f_RCHW: Tensor) -> Tensor:
    return f_RCHW.flatten(2).transpose(1, 2)


def _maps(f_RNC: Tensor) -> Tensor:
    side = round(f_RNC.shape[1] ** 0.5)
    return f_RNC.transpose(1, 2).reshape(f_RNC.shape[0], -1, side, side)
