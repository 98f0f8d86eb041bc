"""What `catalogue.toml` says of each file."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

import attrs

from ardistill.errors import ConfigError
from ardistill.wording import did_you_mean, listed, shown


@attrs.frozen(kw_only=True)
class Asset:
    """One public file: what it is, where it is published, and what it must be."""

    name: str
    about: str
    file: str
    """Its name on this machine; for feature networks, the one that torch's cache has them under."""
    url: str
    page: str
    """Where its publisher speaks of it."""
    sha256: str | None = None
    """None where no hash is known; then the first one seen is recorded."""
    sha256_by: Literal["publisher", "records"] | None = None
    """Whose word `sha256` is: the publisher's, or that of independent public records."""
    size: int | None = None
    """In bytes, where known."""
    licence: str | None = None


@cache
def catalogue() -> dict[str, Asset]:
    """Every asset by its name."""
    text = files("ardistill.assets").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: Asset(name=name, **entry) for name, entry in tomllib.loads(text).items()}


def asset(name: str) -> Asset:
    """The asset of that name. Raises ConfigError, with the nearest name or with all of them."""
    known = catalogue()
    if name not in known:
        raise ConfigError(
            f"there is no public file named {shown(name)}{did_you_mean(name, known) or f'; known: {listed(known)}'}"
        )
    return known[name]
