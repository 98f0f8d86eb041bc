"""What comes before the first token: a class, or a caption; and who may see a caption's padding.

Legend: B batch, T positions of the condition, E caption feature width, D model width, n tokens at hand, N all so far.
Sources: LlamaGen autoregressive/models/gpt.py:LabelEmbedder, CaptionEmbedder; generate.py:generate.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill.errors import DataError
from ardistill.protocols import Condition
from ardistill_llamagen.config import GPTConfig


class LabelEmbedder(nn.Module):
    """One position per class; the table's last row is the null class."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_classes = config.num_classes
        self.embedding_table = nn.Embedding(config.num_classes + 1, config.dim)

    def forward(self, condition: Condition, dropped_B: Tensor | None = None) -> Tensor:
        """(B, 1, D); the null class where `dropped_B` is true."""
        labels_B = condition.require_labels()
        if dropped_B is not None:
            labels_B = labels_B.masked_fill(dropped_B, self.num_classes)
        return self.embedding_table(labels_B).unsqueeze(1)  # type: ignore[no-any-return]


class CaptionEmbedder(nn.Module):
    """Caption features through an MLP; the null caption is a learned set of features, all of its rows in use."""

    uncond_embedding: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.shape = config.cls_token_num, config.caption_dim
        self.cap_proj = CaptionProjection(config.caption_dim, config.dim)
        self.register_buffer("uncond_embedding", torch.zeros(self.shape))

    def forward(self, condition: Condition, dropped_B: Tensor | None = None) -> Tensor:
        """(B, T, D); the null caption where `dropped_B` is true. Padding is on the left, and its features are 0."""
        features_BTE = condition.features_BTE
        if features_BTE is None:
            raise DataError(
                "this LlamaGen is conditioned on captions, and the condition holds classes; give captions"
            )
        if features_BTE.shape[1:] != self.shape:
            raise DataError(
                f"captions of {features_BTE.shape[1]} positions with {features_BTE.shape[2]} features were given, and "
                f"this LlamaGen takes {self.shape[0]} with {self.shape[1]}; give what its own text encoder makes"
            )
        if dropped_B is not None:
            features_BTE = torch.where(dropped_B[:, None, None], self.uncond_embedding, features_BTE)
        return self.cap_proj(features_BTE)  # type: ignore[no-any-return]


class CaptionProjection(nn.Module):
    """Linear, GELU (tanh), Linear, without biases."""

    def __init__(self, caption_dim: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(caption_dim, dim, bias=False)
        self.fc2 = nn.Linear(dim, dim, bias=False)

    def forward(self, features_BTE: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(features_BTE), approximate="tanh"))  # type: ignore[no-any-return]


def attention_mask(mask_BT: Tensor | None, begin: int, end: int, device: torch.device) -> Tensor | None:
    """(B or 1, 1, n, N), True where position begin+i may see position j: j is not later, and no padding of the caption.

    A position always sees itself. None where plain causal attention, or for one token seeing all, says the same.
    """
    if mask_BT is None and (begin == 0 or end - begin == 1):
        return None
    seen_N = torch.arange(end, device=device)
    place_n1 = seen_N[begin:, None]
    mask_11nN = (seen_N <= place_n1)[None, None]
    if mask_BT is None:
        return mask_11nN
    real_BN = F.pad(mask_BT.bool(), (0, end), value=True)[:, :end]
    return (mask_11nN & real_BN[:, None, None]) | (seen_N == place_n1)
