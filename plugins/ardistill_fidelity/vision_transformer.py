"""DINOv2's vision transformer, with the names its published weights have.

Legend: B batch, L tokens (the class token first, then patches), D width, h heads, H W pixels.

A pre-norm transformer (arXiv 2010.11929) with layer scale (2103.17239); the biggest has SwiGLU (2002.05202) for its
MLP. Source of the facts: facebookresearch/dinov2, models/vision_transformer.py and layers/.
"""

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_WIDTH = 64  # of every size
EPS = 1e-6


@attrs.frozen
class ViTConfig:
    """`hidden` is the MLP's inner width, `n_patches` those of an image."""

    width: int
    depth: int
    patch: int
    hidden: int
    swiglu: bool
    n_patches: int


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        qkv_B3hLd = self.qkv(x_BLD).unflatten(2, (3, self.heads, HEAD_WIDTH)).permute(0, 2, 3, 1, 4)
        mixed_BhLd = F.scaled_dot_product_attention(*qkv_B3hLd.unbind(1))
        projected_BLD: Tensor = self.proj(mixed_BhLd.transpose(1, 2).flatten(2))
        return projected_BLD


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        projected_BLD: Tensor = self.fc2(F.gelu(self.fc1(x_BLD)))
        return projected_BLD


class SwiGLU(nn.Module):
    """The gate's half of w12 comes first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        gate_BLD, value_BLD = self.w12(x_BLD).chunk(2, dim=-1)
        projected_BLD: Tensor = self.w3(F.silu(gate_BLD) * value_BLD)
        return projected_BLD


class Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BLD: Tensor) -> Tensor:
        return x_BLD * self.gamma


class Block(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=EPS)
        self.attn = Attention(config.width)
        self.ls1 = Scale(config.width)
        self.norm2 = nn.LayerNorm(config.width, eps=EPS)
        self.mlp = (SwiGLU if config.swiglu else MLP)(config.width, config.hidden)
        self.ls2 = Scale(config.width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.ls1(self.attn(self.norm1(x_BLD)))
        moved_BLD: Tensor = x_BLD + self.ls2(self.mlp(self.norm2(x_BLD)))
        return moved_BLD


class VisionTransformer(nn.Module):
    """Images of the one size its positions are made for -> the normalised class token, as Meta's `forward` gives."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.n_patches, config.width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, config.width, config.patch, config.patch)})
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width, eps=EPS)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        patches_BLD = self.patch_embed["proj"](images_B3HW).flatten(2).transpose(1, 2)
        first_B1D = self.cls_token.expand(len(patches_BLD), -1, -1)
        x_BLD = self.blocks(torch.cat([first_B1D, patches_BLD], dim=1) + self.pos_embed)
        token_BD: Tensor = self.norm(x_BLD[:, 0])
        return token_BD
