"""Discovery: entry points of the group `ardistill` -> a `Registry` of what they offer.

A plugin that cannot be used is a `Problem` in the registry and stops nothing but requests for what it would
have brought. Entry points are loaded one by one: pluggy's `load_setuptools_entrypoints` lets the first plugin
that fails at import take the later ones with it.
"""

import re
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from types import ModuleType
from typing import Any

import attrs
import pluggy

from ardistill import hookspecs
from ardistill.errors import PluginError
from ardistill.records import API_VERSION, OFFERS, Offer, resolve
from ardistill.wording import did_you_mean, listed, message_of, shown

GROUP = "ardistill"

KINDS = tuple(offer.kind for offer in OFFERS)


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


@attrs.frozen
class Registry:
    """What the installed plugins offer, by kind and name, and what is wrong with the others."""

    _found: Mapping[tuple[str, str], Found]
    problems: tuple[Problem, ...]

    def offers(self) -> tuple[Found, ...]:
        """Everything usable, ordered by kind (as in `records.OFFERS`) and name."""
        return tuple(self._found[key] for key in sorted(self._found, key=lambda k: (KINDS.index(k[0]), k[1])))

    def names(self, kind: str) -> tuple[str, ...]:
        """The usable names of a kind, sorted."""
        return tuple(sorted(name for of, name in self._found if of == kind))

    def get(self, kind: str, name: str) -> Offer:
        """The offer of that name, or a `PluginError` that says why there is none and what there is."""
        return self._find(kind, name).offer

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
            raise PluginError(f"{_said(found)} names {found.offer.config}, which is not an attrs class")
        return cls

    def _find(self, kind: str, name: str) -> Found:
        assert kind in KINDS, kind
        found = self._found.get((kind, name))
        if found is not None:
            return found
        for problem in self.problems:
            if (kind, name) in problem.names:
                raise PluginError(f"{kind} {shown(name)} cannot be used: {problem.reason}")
        for problem in self.problems:
            plugin = problem.origin.plugin
            if name == problem.origin.entry_point:
                raise PluginError(
                    f"{kind} {shown(name)} is missing, and plugin {plugin} is broken: {problem.reason}"
                )
        names = self.names(kind)
        hint = did_you_mean(name, names) or ";"
        broken = " (some plugins are broken, see `ardistill plugins`)" if self.problems else ""
        raise PluginError(f"unknown {kind} {shown(name)}{hint} known: {listed(names)}{broken}")


def discover() -> Registry:
    """Loads every entry point of the group. Never raises for what a plugin does."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    problems: list[Problem] = []
    origins: list[Origin] = []
    for origin, entry_point in _entry_points():
        try:
            _register(manager, origin, entry_point)
        except _UnusableError as unusable:
            problems.append(Problem(origin, str(unusable)))
        else:
            origins.append(origin)

    brought: defaultdict[tuple[str, str], list[Found]] = defaultdict(list)
    for origin in origins:
        for item in _offers(manager, origin):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                brought[item.offer.kind, item.offer.name].append(item)

    for key, several in brought.items():
        if len(several) > 1:
            problems.extend(_ambiguous(key, several))
    return Registry({key: found[0] for key, found in brought.items() if len(found) == 1}, tuple(problems))


class _UnusableError(Exception):
    """The reason why an entry point is not a plugin of ours."""


def _entry_points() -> Iterator[tuple[Origin, metadata.EntryPoint]]:
    """Every entry point of the group, by distribution and name; of equal distributions the first on the path.

    They are read one at a time, since `metadata.entry_points` fails as a whole on one malformed file.
    """
    found: dict[str, list[tuple[Origin, metadata.EntryPoint]]] = {}
    for distribution in metadata.distributions():
        try:
            entry_points = distribution.entry_points.select(group=GROUP)
            name, version = (distribution.name, distribution.version) if entry_points else ("", "")
        except Exception:  # noqa: S112 - what cannot be read says not even whether it concerns us
            continue
        if name:
            key = re.sub(r"[-_.]+", "-", name).lower()
            found.setdefault(
                key, [(Origin(f"{name}:{point.name}", name, version), point) for point in entry_points]
            )
    for key in sorted(found):
        yield from sorted(found[key], key=lambda pair: pair[0].plugin)


def _register(manager: pluggy.PluginManager, origin: Origin, entry_point: metadata.EntryPoint) -> None:
    try:
        plugin = entry_point.load()
    except (Exception, SystemExit) as error:
        raise _UnusableError(f"it fails at import ({_told(error)})") from error
    if not isinstance(plugin, ModuleType):
        raise _UnusableError(f"its entry point names {shown(plugin)}, not a module")
    version = getattr(plugin, "ardistill_api", None)
    if version is None:
        raise _UnusableError(f"it does not state its API version (ardistill_api = {API_VERSION})")
    if type(version) is not int or version != API_VERSION:
        raise _UnusableError(
            f"it is made for API version {shown(version)}, and this is version {API_VERSION}"
        )
    if manager.has_plugin(origin.plugin) or manager.is_registered(plugin):
        raise _UnusableError(f"another entry point has registered {plugin.__name__} already")
    try:
        manager.register(plugin, name=origin.plugin)
    except Exception as error:
        raise _UnusableError(f"its hooks do not fit ({_told(error)})") from error
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.spec is None:  # pluggy would never call it, and never say so
            raise _UnusableError(
                f"it implements an unknown hook {caller.name}{did_you_mean(caller.name, HOOKS)}"
            )


def _offers(manager: pluggy.PluginManager, origin: Origin) -> Iterator[Found | Problem]:
    """Calls each hook of one plugin alone, so that a hook that raises voids nobody else's."""
    plugin = manager.get_plugin(origin.plugin)
    others = [other for other in manager.get_plugins() if other is not plugin]
    for hook, expected in HOOKS.items():
        call = manager.subset_hook_caller(hook, remove_plugins=others)
        try:
            offers = [offer for answer in call() for offer in answer]
        except Exception as error:
            yield Problem(origin, f"{hook} raises {_told(error)}")
            continue
        for offer in offers:
            reason = _wrong(offer, expected)
            yield Found(offer, origin) if reason is None else Problem(origin, f"{hook} {reason}")


def _wrong(offer: object, expected: type[Offer]) -> str | None:
    if not isinstance(offer, expected):
        return f"yields {shown(offer)}, not a {expected.__name__}"
    name, summary = typing.cast("tuple[object, object]", (offer.name, offer.summary))  # attrs checks no types
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+*-]*", name):
        return f"yields an offer whose name is {shown(name)}, not one word"
    if not isinstance(summary, str):
        return f"yields {name} with a summary that is not text"
    return None


def _ambiguous(key: tuple[str, str], several: Iterable[Found]) -> Iterator[Problem]:
    kind, name = key
    plugins = sorted(found.origin.plugin for found in several)
    reason = f"{kind} {name} is offered by {' and by '.join(plugins)}; uninstall all but one"
    for origin in sorted({found.origin for found in several}, key=lambda origin: origin.plugin):
        yield Problem(origin, reason, frozenset({key}))


def _imported(found: Found, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        raise PluginError(f"{_said(found)} cannot be loaded: {_told(error)}") from error


def _said(found: Found) -> str:
    origin = found.origin
    return f"{found.offer.kind} {found.offer.name} of {origin.distribution} {origin.version}"


def _told(error: BaseException) -> str:
    """An exception in a few words."""
    text = message_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _hooks() -> dict[str, type[Offer]]:
    """Hook name -> the record it yields, read off the specifications."""
    hooks = {}
    for name, function in vars(hookspecs).items():
        if name.startswith("ardistill_"):
            (hooks[name],) = typing.get_args(typing.get_type_hints(function)["return"])
    return hooks


HOOKS = _hooks()
