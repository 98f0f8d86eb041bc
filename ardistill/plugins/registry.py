"""What the installed plugins offer, by kind and name, and what is wrong with the others.

A name that several distributions offer is an error only where it is asked for; DISTRIBUTION:NAME tells which is meant.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ardistill.errors import PluginError
from ardistill.records import OFFERS, Offer, resolve
from ardistill.wording import did_you_mean, listed, message_of, shown

KINDS = tuple(offer.kind for offer in OFFERS)
CORE = {offer.kind: sorted(offer.core) for offer in OFFERS}
"""By kind, the names that the core has itself."""
OWN = "ardistill"
"""The distribution whose offers need no saying whose they are."""


def normalised(distribution: str) -> str:
    """A distribution's name as names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def told(error: BaseException) -> str:
    """An exception in a few words."""
    text = message_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@attrs.frozen
class Origin:
    """Where a plugin comes from; `plugin` is its name in the registry, "<distribution>:<entry point>"."""

    plugin: str
    distribution: str
    version: str

    @property
    def entry_point(self) -> str:
        return self.plugin.partition(":")[2]


@attrs.frozen
class Problem:
    """Why a plugin, or one thing of it, cannot be used. `names` are the names of offers it makes unusable."""

    origin: Origin
    reason: str
    names: frozenset[tuple[str, str]] = frozenset()


@attrs.frozen
class Found:
    """An offer and where it comes from."""

    offer: Offer
    origin: Origin

    @property
    def full_name(self) -> str:
        """DISTRIBUTION:NAME, which is never ambiguous."""
        return f"{self.origin.distribution}:{self.offer.name}"

    def __str__(self) -> str:
        return f"{self.offer.kind} {self.offer.name} of {self.origin.distribution} {self.origin.version}"


@attrs.frozen
class Registry:
    """`_found` has the offers of each kind and name: one, or several of different distributions."""

    _found: Mapping[tuple[str, str], Sequence[Found]]
    problems: tuple[Problem, ...]
    left_out: tuple[Origin, ...] = ()
    """Plugins that were not asked, as ARDISTILL_PLUGINS has it."""

    def offers(self) -> tuple[Found, ...]:
        """Everything usable, ordered by kind (as in `records.OFFERS`), name and distribution."""
        keys = sorted(self._found, key=lambda key: (KINDS.index(key[0]), key[1]))
        return tuple(found for key in keys for found in self._found[key])

    def names(self, kind: str) -> tuple[str, ...]:
        """By what the usable offers of a kind can be asked for, sorted."""
        several = (found for (of, _), found in self._found.items() if of == kind)
        return tuple(
            sorted(
                found.offer.name if len(each) == 1 else found.full_name for each in several for found in each
            )
        )

    def has(self, kind: str, name: object) -> bool:
        """Whether `get` would find it."""
        return isinstance(name, str) and len(self._candidates(kind, name)) == 1

    def get(self, kind: str, name: str) -> Offer:
        """The offer of that name, or a `PluginError` that says why there is none and what there is."""
        return self._find(kind, name).offer

    def name_beside(self, kind: str, name: str, neighbour: tuple[str, str]) -> str:
        """What to call the `kind` `name` that comes with another offer (kind, name): in full where it has to be."""
        if len(self._candidates(kind, name)) < 2:
            return name
        return f"{self._find(*neighbour).origin.distribution}:{name}"

    def load(self, kind: str, name: str) -> Any:
        """The offer's target, imported."""
        found = self._find(kind, name)
        return _imported(found, found.offer.load)

    def load_target(self, kind: str, name: str, target: str) -> Any:
        """Another target that the offer names, imported."""
        return _imported(self._find(kind, name), lambda: resolve(target))

    def config_class(self, kind: str, name: str) -> type | None:
        """The offer's attrs class of settings, imported; None where it takes none."""
        found = self._find(kind, name)
        cls: type | None = _imported(found, found.offer.config_class)
        if cls is not None and not attrs.has(cls):
            raise PluginError(f"{found} names {found.offer.config}, which is not an attrs class")
        return cls

    def _candidates(self, kind: str, name: str) -> list[Found]:
        distribution, colon, bare = name.rpartition(":")
        found = self._found.get((kind, bare), ())
        wanted = normalised(distribution)
        return [each for each in found if not colon or normalised(each.origin.distribution) == wanted]

    def _find(self, kind: str, name: str) -> Found:
        assert kind in KINDS, kind
        found = self._candidates(kind, name)
        if len(found) == 1:
            return found[0]
        if found:
            plugins = sorted(each.origin.plugin for each in found)
            names = " or ".join(sorted(f"{each.full_name}" for each in found))
            raise PluginError(f"{kind} {name} is offered by {' and by '.join(plugins)}; give {names}")
        raise PluginError(self._absent(kind, name))

    def _absent(self, kind: str, name: str) -> str:
        bare = name.rpartition(":")[2]
        for problem in self.problems:
            if (kind, bare) in problem.names:
                return f"{kind} {shown(name)} cannot be used: {problem.reason}"
        for problem in self.problems:
            if bare == problem.origin.entry_point:
                plugin = problem.origin.plugin
                return f"{kind} {shown(name)} is missing, and plugin {plugin} is broken: {problem.reason}"
        for origin in self.left_out:
            if bare == origin.entry_point:
                return f"{kind} {shown(name)} is missing, and ARDISTILL_PLUGINS leaves out plugin {origin.plugin}"
        hint = did_you_mean(name, [*CORE[kind], *self.names(kind)]) or ";"
        broken = " (some plugins are broken, see `ardistill plugins`)" if self.problems else ""
        return f"unknown {kind} {shown(name)}{hint} known: {listed(self.known(kind))}{broken}"

    def known(self, kind: str) -> list[str]:
        """The names of a kind, the core's first, with the distributions of those that are not ardistill's own."""
        found = {name: self._find(kind, name).origin.distribution for name in self.names(kind)}
        plain = {name for name, by in found.items() if ":" in name or normalised(by) == OWN}
        told = [name if name in plain else f"{name} (of {by})" for name, by in found.items()]
        return [*CORE[kind], *told]


def _imported(found: Found, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        raise PluginError(f"{found} cannot be loaded: {told(error)}") from error
