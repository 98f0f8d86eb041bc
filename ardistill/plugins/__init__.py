"""What the installed plugins offer: a `Registry`, made by `discover`."""

from ardistill.plugins.discovery import HOOKS, discover
from ardistill.plugins.registry import KINDS, Found, Origin, Problem, Registry

__all__ = ["HOOKS", "KINDS", "Found", "Origin", "Problem", "Registry", "discover"]
