"""Configuration of LlamaGen's transformer. No torch here, so that a command line can read it quickly.

Names are upstream's (autoregressive/models/gpt.py:ModelArgs).
"""

import math
from typing import Literal

import attrs
from attrs import validators as check

from ardistill.errors import ConfigError

ModelType = Literal["c2i", "t2i"]


def ffn_width(dim: int, multiple_of: int) -> int:
    """The hidden width of SwiGLU: two thirds of 4 dim, rounded down, then up to a multiple."""
    return -(-int(2 * 4 * dim / 3) // multiple_of) * multiple_of


@attrs.frozen(kw_only=True)
class GPTConfig:
    """The transformer: conditioned on a class (c2i) or on caption features (t2i).

    Training had dropout on tokens, residuals and feed-forwards upstream; here there is none. The class table always
    has a row more than classes, the null class.
    """

    dim: int = attrs.field(default=768, validator=check.ge(1))
    n_layer: int = attrs.field(default=12, validator=[check.ge(1), check.le(1000)])
    n_head: int = attrs.field(default=12, validator=check.ge(1))
    vocab_size: int = attrs.field(default=16384, validator=check.ge(2))
    block_size: int = attrs.field(default=256, validator=check.ge(1))  # tokens of an image, a square
    cls_token_num: int = attrs.field(default=1, validator=check.ge(1))  # positions of the condition
    num_classes: int = attrs.field(default=1000, validator=check.ge(0))
    model_type: ModelType = attrs.field(default="c2i", validator=check.in_(("c2i", "t2i")))
    caption_dim: int = attrs.field(default=2048, validator=check.ge(1))
    multiple_of: int = attrs.field(default=256, validator=check.ge(1))
    ffn_hidden: int = attrs.field(validator=check.ge(1))
    norm_eps: float = attrs.field(default=1e-5, validator=check.gt(0.0))
    rope_base: float = attrs.field(default=10000.0, validator=check.gt(0.0))
    class_dropout_prob: float = attrs.field(
        default=0.1, validator=[check.ge(0.0), check.le(1.0)]
    )  # for training only
    code_width: int = attrs.field(default=8, validator=check.ge(1))  # what trunks read; the tokenizer's

    @ffn_hidden.default
    def _ffn_hidden(self) -> int:
        return ffn_width(self.dim, self.multiple_of)

    def __attrs_post_init__(self) -> None:
        if self.dim % (4 * self.n_head):
            raise ConfigError(
                f"dim={self.dim} and n_head={self.n_head} do not fit; a head's width must be a multiple of 4"
            )
        if self.side**2 != self.block_size:
            raise ConfigError(f"block_size={self.block_size} must be a square, the tokens of a square image")
        if self.model_type == "c2i" and self.cls_token_num != 1:
            raise ConfigError(f"cls_token_num={self.cls_token_num} must be 1 where the condition is a class")

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_head

    @property
    def side(self) -> int:
        """Tokens along one side of the image."""
        return math.isqrt(self.block_size)

    @property
    def n_positions(self) -> int:
        """Positions of the condition and of all tokens."""
        return self.cls_token_num + self.block_size

    def same_network(self, other: "GPTConfig") -> bool:
        """Whether both have the same tensors in their state dicts."""
        names = ["model_type", "dim", "n_layer", "ffn_hidden", "vocab_size"]
        names += ["num_classes"] if self.model_type == "c2i" else ["cls_token_num", "caption_dim"]
        return all(getattr(self, name) == getattr(other, name) for name in names)


_SIZES = {
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1280, 36, 20),
    "XXL": (1536, 48, 24),
    "3B": (3200, 24, 32),
}

PRESETS: dict[str, GPTConfig] = {
    f"c2i-{name}": GPTConfig(dim=dim, n_layer=n_layer, n_head=n_head)
    for name, (dim, n_layer, n_head) in _SIZES.items()
}
PRESETS["t2i-XL"] = attrs.evolve(PRESETS["c2i-XL"], model_type="t2i", cls_token_num=120, num_classes=0)
"""The released models at 256x256 pixels; those for 384x384 differ in block_size=576 alone."""

RELEASED_HEADS = {(dim, n_layer): n_head for dim, n_layer, n_head in _SIZES.values()}
"""(dim, n_layer) -> n_head, which no shape tells."""
