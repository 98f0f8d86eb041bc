"""The words of `eval.metrics.diversity`; imports no torch."""

import attrs
from attrs.validators import ge


@attrs.frozen
class DiversityConfig:
    per_class: int = attrs.field(default=500, validator=ge(2))
    """The first so many images of each class are compared with one another, each pair once."""
