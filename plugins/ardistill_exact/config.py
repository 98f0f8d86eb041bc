"""What can be set about the exact teachers; no torch here."""

import attrs

_POSITIVE = attrs.validators.gt(0)
_POSITIVE_REAL = attrs.validators.gt(0.0)
_SEED = attrs.validators.ge(0)


@attrs.frozen
class TrunkConfig:
    """The teachers' network: a causal transformer, fitted to the known conditionals when first asked for."""

    width: int = attrs.field(default=64, validator=_POSITIVE)
    depth: int = attrs.field(default=2, validator=_POSITIVE)
    heads: int = attrs.field(default=4, validator=_POSITIVE)
    fit_updates: int = attrs.field(default=100, validator=attrs.validators.ge(0))
    """Updates of the fit; 0 leaves the network at its random start."""


@attrs.frozen
class SparseConfig:
    """`exact-sparse`: the corners of a cube as codes, and tables of conditionals drawn from `seed`."""

    seed: int = attrs.field(default=0, validator=_SEED)
    n_tokens: int = attrs.field(default=4, validator=[_POSITIVE, attrs.validators.le(5)])
    n_classes: int = attrs.field(default=2, validator=_POSITIVE)
    sharpness: float = attrs.field(default=2.0, validator=_POSITIVE_REAL)
    """Standard deviation of the tables' logits: larger makes tokens depend on one another more."""
    trunk: TrunkConfig = TrunkConfig()


@attrs.frozen
class DenseConfig:
    """`exact-dense`: a square grid of codes; a token lies near its predecessor turned to the left or right."""

    side: int = attrs.field(default=12, validator=attrs.validators.ge(4))
    n_tokens: int = attrs.field(default=4, validator=_POSITIVE)
    spread: float = attrs.field(default=0.25, validator=_POSITIVE_REAL)
    """Standard deviation of a mode, where the codes have unit variance."""
    turn: float = attrs.field(default=60.0, validator=[attrs.validators.gt(0), attrs.validators.lt(180)])
    """Half the angle between the two modes, in degrees."""
    trunk: TrunkConfig = TrunkConfig()
