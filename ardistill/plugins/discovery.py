"""Discovery: entry points of the group `ardistill` -> a `Registry` of what they offer.

A plugin that cannot be used is a `Problem` in the registry and stops nothing but requests for what it would
have brought. Entry points are loaded one by one: pluggy's `load_setuptools_entrypoints` lets the first plugin
that fails at import take the later ones with it.
"""

import re
import typing
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib import metadata
from types import ModuleType

import pluggy

from ardistill import hookspecs
from ardistill.plugins.choice import VARIABLE, Choice
from ardistill.plugins.registry import Found, Origin, Problem, Registry, normalised, told
from ardistill.records import API_VERSION, Offer
from ardistill.wording import did_you_mean, shown

GROUP = "ardistill"


def discover() -> Registry:
    """Loads every entry point of the group. Never raises for what a plugin does."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    problems: list[Problem] = []
    origins: list[Origin] = []
    choice, points = Choice.of(), list(_entry_points())
    left_out = [origin for origin, _ in points if not choice.asks(origin)]
    problems.extend(
        Problem(Origin(name, name, "-"), f"{VARIABLE} names it, and no such plugin is installed")
        for name in choice.absent([origin for origin, _ in points])
    )
    for origin, entry_point in points:
        if origin in left_out:
            continue
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

    for key, found in brought.items():
        problems.extend(_several(key, found))
    usable = {key: [each for each in found if _alone(each, found)] for key, found in brought.items()}
    return Registry({key: found for key, found in usable.items() if found}, tuple(problems), tuple(left_out))


def _alone(found: Found, among: Sequence[Found]) -> bool:
    """Whether no other offer of that name comes from the same distribution."""
    return [each.origin.distribution for each in among].count(found.origin.distribution) == 1


def _several(key: tuple[str, str], found: Sequence[Found]) -> Iterator[Problem]:
    """What is wrong where a name is offered more than once, for each of those who offer it."""
    kind, name = key
    if len(found) == 1:
        return
    told_apart = [f"{kind}={each.full_name}" for each in found if _alone(each, found)]
    for each in found:
        if _alone(each, found):
            yield Problem(
                each.origin, f"{kind} {name} is offered by {_by(found)}; give {' or '.join(told_apart)}"
            )
        else:
            reason = f"{kind} {name} is offered by {_by(found)}; one distribution may offer a name once"
            yield Problem(each.origin, reason, frozenset({key}))


def _by(found: Sequence[Found]) -> str:
    return " and by ".join(sorted(each.origin.plugin for each in found))


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
            found.setdefault(
                normalised(name),
                [(Origin(f"{name}:{point.name}", name, version), point) for point in entry_points],
            )
    for key in sorted(found):
        yield from sorted(found[key], key=lambda pair: pair[0].plugin)


def _register(manager: pluggy.PluginManager, origin: Origin, entry_point: metadata.EntryPoint) -> None:
    try:
        plugin = entry_point.load()
    except (Exception, SystemExit) as error:
        raise _UnusableError(f"it fails at import ({told(error)})") from error
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
        raise _UnusableError(f"its hooks do not fit ({told(error)})") from error
    callers = manager.get_hookcallers(plugin) or ()
    if not callers:
        raise _UnusableError(
            "it implements no hook; mark its functions with @hookimpl of ardistill.hookspecs"
        )
    for caller in callers:
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
            yield Problem(origin, f"{hook} raises {told(error)}")
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
    if name in expected.core:
        return f"yields {name}, which ardistill has itself; give another name"
    if not isinstance(summary, str):
        return f"yields {name} with a summary that is not text"
    return None


def _hooks() -> dict[str, type[Offer]]:
    """Hook name -> the record it yields, read off the specifications."""
    hooks = {}
    for name, function in vars(hookspecs).items():
        if name.startswith("ardistill_"):
            (hooks[name],) = typing.get_args(typing.get_type_hints(function)["return"])
    return hooks


HOOKS = _hooks()
