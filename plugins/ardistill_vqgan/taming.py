"""taming-transformers' VQGAN as a Tokenizer (official state-dict keys, without the `loss.*` of its training).

Legend: B batch, C code width, H W pixels, h w sides of the token map, L = h*w tokens (row-major), V codes.
Source: taming-transformers models/vqgan.py:VQModel.
"""

import torch
from torch import Tensor, nn

from ardistill_vqgan.backbone import Decoder, Encoder
from ardistill_vqgan.config import TamingConfig
from ardistill_vqgan.quantizer import Quantized, SingleScaleQuantizer


class TamingVQGAN(nn.Module):
    """Images in [-1, 1] <-> a row-major map of tokens.

    The map's sides follow the configured resolution; the convolutions themselves take any.
    """

    def __init__(self, config: TamingConfig) -> None:
        super().__init__()
        self.config = config
        backbone = config.backbone
        self.encoder = Encoder(backbone)
        self.decoder = Decoder(backbone)
        self.quantize = SingleScaleQuantizer(config.vocab, config.code_width, config.beta)
        self.quant_conv = nn.Conv2d(config.z_channels, config.code_width, 1)
        self.post_quant_conv = nn.Conv2d(config.code_width, config.z_channels, 1)

    @property
    def codebook(self) -> Tensor:
        """(V, C) codes."""
        return self.quantize.embedding.weight.detach()

    @property
    def n_tokens(self) -> int:
        return self.config.latent_side**2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.config.in_channels, self.config.resolution, self.config.resolution

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) in [-1, 1] -> tokens (B, L) int64."""
        return self.quantize.encode(self.features(images_BCHW))

    def decode(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> images (B, channels, H, W), clamped to [-1, 1]; differentiable in the latents."""
        side = self.config.latent_side
        z_BChw = latents_BLC.transpose(1, 2).reshape(latents_BLC.shape[0], -1, side, side)
        return self.images(z_BChw).clamp(-1.0, 1.0)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, C, h, w), what the quantizer sees."""
        return self.quant_conv(self.encoder(images_BCHW))  # type: ignore[no-any-return]

    def images(self, z_BChw: Tensor) -> Tensor:
        """(B, C, h, w) -> images, unclamped."""
        return self.decoder(self.post_quant_conv(z_BChw))  # type: ignore[no-any-return]

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Quantized]:
        """Training: the unclamped reconstruction and the quantizer's output."""
        quantized = self.quantize(self.features(images_BCHW))
        return self.images(quantized.z_BCHW), quantized
