"""VAR's multi-scale VQVAE as a Tokenizer, with the official state-dict keys.

Legend: B batch, P panels, R = B*P rows, one a panel, C code width, V codes, L tokens of an image in order of emission,
H W pixels, h w sides of f_hat. With one panel R is B.
Source: VAR models/vqvae.py:VQVAE.
"""

import torch
from ardistill_vqgan.backbone import Decoder, Encoder
from ardistill_vqgan.quantizer import Quantized
from torch import Tensor, nn

from ardistill_var.config import VARTokenizerConfig
from ardistill_var.quantizer import MultiScaleQuantizer


class VARTokenizer(nn.Module):
    """Images in [-1, 1] <-> tokens of all scales; decoding takes one vector per token, a code or not.

    Panels lie side by side, each coded by itself with the same network.
    """

    def __init__(self, config: VARTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        backbone = config.backbone
        self.encoder = Encoder(backbone)
        self.decoder = Decoder(backbone)
        self.quantize = MultiScaleQuantizer(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.z_channels, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(config.z_channels, config.z_channels, 3, padding=1)

    @property
    def codebook(self) -> Tensor:
        """(V, C) codes."""
        return self.quantize.embedding.weight.detach()

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """Tokens per step, see `config.panel_steps`."""
        return self.quantize.pyramid.step_sizes

    @property
    def n_tokens(self) -> int:
        """L."""
        return sum(self.step_sizes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        side = self.config.image_side
        return self.config.in_channels, side, self.config.panels * side

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) in [-1, 1] -> tokens (B, L) int64."""
        return self.quantize.encode(self.features(images_BCHW))

    def decode(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> images (B, channels, H, W), clamped to [-1, 1]; differentiable in the latents.

        Latents of the first scales alone give the image those scales describe.
        """
        return self.images(self.quantize.map(latents_BLC)).clamp(-1.0, 1.0)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) -> (R, C, h, w), what the quantizer sees."""
        panels_BPCHW = torch.stack(images_BCHW.chunk(self.config.panels, dim=3), dim=1)
        return self.quant_conv(self.encoder(panels_BPCHW.flatten(0, 1)))  # type: ignore[no-any-return]

    def images(self, f_RChw: Tensor) -> Tensor:
        """f_hat (R, C, h, w) -> images (B, channels, H, W), unclamped."""
        panels_RCHW: Tensor = self.decoder(self.post_quant_conv(f_RChw))
        if self.config.panels == 1:
            return panels_RCHW
        panels_BPCHW = panels_RCHW.view(-1, self.config.panels, *panels_RCHW.shape[1:])
        return torch.cat(list(panels_BPCHW.unbind(1)), dim=3)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Quantized]:
        """Training: the unclamped reconstruction and the quantizer's output."""
        quantized = self.quantize(self.features(images_BCHW))
        return self.images(quantized.z_BCHW), quantized
