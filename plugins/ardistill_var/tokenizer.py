"""VAR's multi-scale VQVAE as a Tokenizer, with the official state-dict keys.

Legend: B batch, C code width, V codes, L tokens of all scales in order of emission, H W pixels, h w sides of
f_hat.
Source: VAR models/vqvae.py:VQVAE.
"""

import torch
from ardistill_vqgan.backbone import Decoder, Encoder
from ardistill_vqgan.quantizer import Quantized
from torch import Tensor, nn

from ardistill_var.config import VARTokenizerConfig
from ardistill_var.quantizer import MultiScaleQuantizer


class VARTokenizer(nn.Module):
    """Images in [-1, 1] <-> tokens of all scales; decoding takes one vector per token, a code or not."""

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
        """Tokens per scale."""
        return tuple(self.quantize.pyramid.sizes)

    @property
    def n_tokens(self) -> int:
        """L."""
        return sum(self.step_sizes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.config.in_channels, self.config.image_side, self.config.image_side

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
        """(B, channels, H, W) -> (B, C, h, w), what the quantizer sees."""
        return self.quant_conv(self.encoder(images_BCHW))  # type: ignore[no-any-return]

    def images(self, f_BChw: Tensor) -> Tensor:
        """f_hat (B, C, h, w) -> images, unclamped."""
        return self.decoder(self.post_quant_conv(f_BChw))  # type: ignore[no-any-return]

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Quantized]:
        """Training: the unclamped reconstruction and the quantizer's output."""
        quantized = self.quantize(self.features(images_BCHW))
        return self.images(quantized.z_BCHW), quantized
