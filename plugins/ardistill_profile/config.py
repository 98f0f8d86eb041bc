"""The words of `callbacks.profile`; imports no torch."""

import attrs
from attrs.validators import ge


@attrs.frozen
class ProfileConfig:
    skip: int = attrs.field(default=10, validator=ge(1))
    """Updates before it: the first ones warm up."""
    updates: int = attrs.field(default=6, validator=ge(1))
    """How many are traced."""
    memory: bool = False
    """Also what is allocated, and by whom."""
