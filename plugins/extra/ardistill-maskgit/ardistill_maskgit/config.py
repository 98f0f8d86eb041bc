"""The sizes of the network. No torch here, so that a command line can read it quickly."""

import math

import attrs
from attrs import validators as check

from ardistill.errors import ConfigError


@attrs.frozen(kw_only=True)
class MaskGITConfig:
    """A masked transformer of `len(order)` tokens.

    `order` says where the tokens lie: the n-th to be unmasked is at the row-major place `order[n]` of a square.
    The table of classes has a row more than classes, the null class.
    """

    order: tuple[int, ...]
    width: int = attrs.field(default=64, validator=check.ge(1))
    depth: int = attrs.field(default=4, validator=[check.ge(1), check.le(1000)])
    heads: int = attrs.field(default=4, validator=check.ge(1))
    vocab: int = attrs.field(default=128, validator=check.ge(2))
    code_width: int = attrs.field(default=8, validator=check.ge(1))
    n_classes: int = attrs.field(default=10, validator=check.ge(1))

    def __attrs_post_init__(self) -> None:
        if not self.order or sorted(self.order) != list(range(len(self.order))):
            raise ConfigError("order must name every place of the image once, counted from 0")
        if math.isqrt(self.n_tokens) ** 2 != self.n_tokens:
            raise ConfigError(f"order has {self.n_tokens} places; they must be those of a square")
        if self.width % self.heads:
            raise ConfigError(f"width={self.width} must be a multiple of heads={self.heads}")

    @property
    def n_tokens(self) -> int:
        """L."""
        return len(self.order)
