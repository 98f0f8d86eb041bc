"""Which plugins are asked, as ARDISTILL_PLUGINS says.

A list with commas. NAME loads the named ones and ardistill's own, and no other; -NAME leaves one out. A name is a
distribution's, or DISTRIBUTION:ENTRY_POINT. Unset or empty, all are asked.
"""

import os
from collections.abc import Mapping

import attrs

from ardistill.errors import PluginError
from ardistill.plugins.registry import OWN, Origin, normalised
from ardistill.wording import shown

VARIABLE = "ARDISTILL_PLUGINS"


@attrs.frozen
class Choice:
    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Choice":
        """Raises PluginError where a name is none."""
        words = [word.strip() for word in environment.get(VARIABLE, "").split(",") if word.strip()]
        for word in words:
            if not word.removeprefix("-").partition(":")[0]:
                raise PluginError(
                    f"{VARIABLE} has {shown(word)}; give distributions, or -DISTRIBUTION to leave one out"
                )
        only = frozenset(_key(word) for word in words if not word.startswith("-"))
        return cls(only, frozenset(_key(word[1:]) for word in words if word.startswith("-")))

    def asks(self, origin: Origin) -> bool:
        names = {normalised(origin.distribution), _key(origin.plugin)}
        if names & self.without:
            return False
        return not self.only or bool(names & self.only) or normalised(origin.distribution) == OWN

    def absent(self, origins: list[Origin]) -> list[str]:
        """The names that no installed plugin has, which are misspelt or not installed."""
        known = {name for each in origins for name in (normalised(each.distribution), _key(each.plugin))}
        return sorted((self.only | self.without) - known)


def _key(name: str) -> str:
    distribution, colon, entry_point = name.partition(":")
    return f"{normalised(distribution)}{colon}{entry_point}"
