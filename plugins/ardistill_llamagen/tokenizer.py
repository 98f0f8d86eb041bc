"""LlamaGen's VQ tokenizers (VQ-16, VQ-8) as a Tokenizer, with the official state-dict keys.

Features and codes are brought to length 1 before they meet, so the nearest code is the one of largest cosine, and what
the decoder is trained on are unit vectors.

Legend: B batch, C code width, V codes, H W pixels, h w sides of the token map, L = h*w tokens (row-major).
Source: LlamaGen tokenizer/tokenizer_image/vq_model.py:VQModel, VectorQuantizer.
"""

import torch
import torch.nn.functional as F
from ardistill_vqgan.quantizer import Quantized, nearest_codes
from torch import Tensor, nn

from ardistill_llamagen.tokenizer_backbone import Decoder, Encoder
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig

USED = 65536  # length of the official buffer of recently used codes, whatever the codebook's size


class UnitQuantizer(nn.Module):
    """One codebook on the unit sphere: `embedding.weight` is stored as trained and normalised wherever it is used.

    `codebook_used` is there for the official key only; nothing reads or writes it.
    """

    def __init__(self, codebook_size: int, codebook_embed_dim: int, beta: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codebook_size, codebook_embed_dim)
        self.beta = beta
        self.register_buffer("codebook_used", torch.zeros(USED))

    def codes(self) -> Tensor:
        """(V, C) of length 1, differentiable."""
        return F.normalize(self.embedding.weight, dim=-1)

    def encode(self, z_BChw: Tensor) -> Tensor:
        """(B, C, h, w) -> tokens (B, L)."""
        z_NC = z_BChw.permute(0, 2, 3, 1).reshape(-1, z_BChw.shape[1])
        return nearest_codes(z_NC, self.embedding.weight, cosine=True).view(len(z_BChw), -1)

    def forward(self, z_BChw: Tensor) -> Quantized:
        """mean((zq - sg[z])^2) + beta mean((sg[zq] - z)^2) of the unit vectors zq and z."""
        unit_BChw = F.normalize(z_BChw, dim=1)
        tokens_BL = self.encode(z_BChw)
        zq_BChw = F.embedding(tokens_BL, self.codes()).transpose(1, 2).reshape(z_BChw.shape)
        codebook = (zq_BChw - unit_BChw.detach()).square().mean()
        commitment = (zq_BChw.detach() - unit_BChw).square().mean()
        straight_BChw = unit_BChw + (zq_BChw - unit_BChw).detach()
        return Quantized(straight_BChw, codebook + self.beta * commitment, tokens_BL)


class LlamaGenTokenizer(nn.Module):
    """Images in [-1, 1] <-> a row-major map of tokens; decoding takes any latents, of length 1 or not.

    LlamaGen's own evaluation makes bytes of the unclamped images by truncating clamp(127.5 x + 128, 0, 255); ours
    (`ardistill.evaluation.fidelity.to_uint8`) rounds 127.5 (x + 1), which is the same but for ties, half to even.
    """

    def __init__(self, config: LlamaGenTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        backbone = config.backbone
        self.encoder = Encoder(backbone)
        self.decoder = Decoder(backbone)
        self.quantize = UnitQuantizer(config.codebook_size, config.codebook_embed_dim, config.beta)
        self.quant_conv = nn.Conv2d(config.z_channels, config.codebook_embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.codebook_embed_dim, config.z_channels, 1)

    @property
    def codebook(self) -> Tensor:
        """(V, C) codes of length 1."""
        return self.quantize.codes().detach()

    @property
    def n_tokens(self) -> int:
        """L."""
        return self.config.side**2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.config.in_channels, self.config.image_size, self.config.image_size

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) in [-1, 1] -> tokens (B, L) int64."""
        return self.quantize.encode(self.features(images_BCHW))

    def decode(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> images (B, channels, H, W), clamped to [-1, 1]; differentiable in the latents."""
        return self.images(self.map(latents_BLC)).clamp(-1.0, 1.0)

    def map(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> (B, C, h, w)."""
        side = self.config.side
        return latents_BLC.transpose(1, 2).reshape(latents_BLC.shape[0], -1, side, side)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, C, h, w), what the quantizer sees, not normalised."""
        return self.quant_conv(self.encoder(images_BCHW))  # type: ignore[no-any-return]

    def images(self, z_BChw: Tensor) -> Tensor:
        """(B, C, h, w) -> images, unclamped."""
        return self.decoder(self.post_quant_conv(z_BChw))  # type: ignore[no-any-return]

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Quantized]:
        """Training: the unclamped reconstruction and the quantizer's output."""
        quantized = self.quantize(self.features(images_BCHW))
        return self.images(quantized.z_BCHW), quantized
