"""What `ardistill plugins check` does; `cli.plugins` tells its words."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import attrs

from ardistill.cli.terminal import print_table
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import parse_words
from ardistill.config.families import settings_class
from ardistill.config.launching import LAUNCHERS
from ardistill.errors import ArdistillError, ConfigError, PluginError
from ardistill.plugins import KINDS, Found, Problem, Registry, discover
from ardistill.wording import did_you_mean, listed, message_of, printable, shown

if TYPE_CHECKING:
    from ardistill.protocols import Progress  # which imports torch

PASSED, FAILED, LEFT = "passed", "failed", "not checked"
_RECIPES = (
    "recipes train for minutes; run this one with: python -m ardistill pretrain {name} out=DIR quick=true"
)
_JOBS = (
    "a check hands no job over; try one with: python -m ardistill run 'method=onestep*' teacher=var quick=true "
    "launcher={name} launcher.wait=true"
)


@attrs.frozen
class Row:
    """How one check of one thing went, and what is to be said of it."""

    thing: str
    check: str
    result: str
    said: str = ""


def main(words: list[str]) -> int:
    """0 where every check that was made passes, else 1."""
    if not words or "=" in words[0]:
        raise ConfigError("give what to check, as kind:name (teacher:var) or a distribution's name")
    name, *rest = words
    registry = discover()
    chosen, problems = targets(name, registry)
    _refuse_unread(rest, chosen)
    rows = [Row(each.origin.plugin, "it can be used", FAILED, each.reason) for each in problems]
    with shown_progress() as progress, _elsewhere():
        for found in chosen:
            rows += _rows(found, rest, registry, progress, alone=len(chosen) == 1)
    if all(row.result == LEFT for row in rows):
        raise PluginError(f"nothing of {name} could be checked; {rows[0].thing}: {rows[0].said}")
    _print(rows)
    return 1 if any(row.result == FAILED for row in rows) else 0


def targets(name: str, registry: Registry) -> tuple[list[Found], list[Problem]]:
    """The offers that a name stands for, and what is wrong with plugins of that name."""
    kind, _, rest = name.partition(":")
    offers = registry.offers()
    if kind in KINDS and rest:
        offer = registry.get(kind, rest)
        return [found for found in offers if found.offer is offer], []
    chosen = [found for found in offers if name in (found.origin.distribution, found.origin.plugin)]
    problems = [each for each in registry.problems if name in (each.origin.distribution, each.origin.plugin)]
    if not chosen and not problems:
        known = [f"{found.offer.kind}:{found.offer.name}" for found in offers]
        near = [full for full in known if full.endswith(f":{name}")]
        hint = f"; did you mean {' or '.join(near)}?" if near else did_you_mean(name, known)
        distributions = listed(sorted({found.origin.distribution for found in offers}))
        raise PluginError(f"no plugin is called {shown(name)}{hint or f'; distributions: {distributions}'}")
    return chosen, problems


def _refuse_unread(words: Sequence[str], chosen: Sequence[Found]) -> None:
    """Refuses words that concern nothing of what is checked."""
    from ardistill.cli.subjects import heads_of

    known = {head for found in chosen for head in heads_of(found.offer.kind)}
    for head in parse_words(words):
        if head not in known:
            hint = did_you_mean(head, known) or f"; known: {listed(sorted(known))}"
            raise ConfigError(f"{head}= concerns nothing that is checked here{hint}")


def _rows(
    found: Found, words: Sequence[str], registry: Registry, progress: "Progress", *, alone: bool
) -> Iterator[Row]:
    """Of one offer. One that is `alone` and can't be built raises the reason."""
    from ardistill.cli.subjects import subject
    from ardistill.testing.conformity import outcomes

    thing = f"{found.offer.kind}:{found.offer.name}"
    if found.offer.kind == "recipe":
        yield Row(thing, "-", LEFT, _RECIPES.format(name=found.offer.name))
        return
    try:
        registry.load(found.offer.kind, found.full_name)
        registry.config_class(found.offer.kind, found.full_name)
    except PluginError as error:
        yield Row(thing, "it can be loaded", FAILED, str(error))
        return
    if found.offer.kind == "launcher":
        yield from _of_launcher(thing, found, registry)
        return
    with ExitStack() as stack:
        try:
            checks, checked = stack.enter_context(subject(found, words, registry))
        except ArdistillError as error:
            if alone:
                raise
            yield Row(thing, "-", LEFT, str(error))
            return
        except Exception as error:  # whatever a plugin raises
            yield Row(thing, "it can be made", FAILED, f"{type(error).__name__}: {message_of(error)}")
            return
        for done, outcome in enumerate(outcomes(checks, checked), 1):
            progress.advance(done, len(checks), f"checks of {thing}")
            result = PASSED if outcome.fault is None else FAILED
            yield Row(thing, outcome.check, result, outcome.fault or "")


def _of_launcher(thing: str, found: Found, registry: Registry) -> Iterator[Row]:
    """Its settings alone: a check hands no jobs over."""
    check = "its settings are a launcher's"
    try:
        settings_class("launcher", found.full_name, LAUNCHERS, registry)
    except PluginError as error:
        yield Row(thing, check, FAILED, str(error))
        return
    yield Row(thing, check, PASSED)
    yield Row(thing, "its jobs", LEFT, _JOBS.format(name=found.offer.name))


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Hypothesis keeps notes in the folder it is started in; here, in one that goes away."""
    from hypothesis.configuration import set_hypothesis_home_dir

    with TemporaryDirectory(prefix="ardistill-check-") as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)


def _print(rows: Sequence[Row]) -> None:
    """A table of all checks, then what is to be said of those that did not pass."""
    print_table([(row.thing, row.check, row.result) for row in rows], ("plugin", "check", "result"))
    said = [row for row in rows if row.result != PASSED]
    for result, group in groupby(sorted(said, key=lambda row: row.result), key=lambda row: row.result):
        print(f"\n{result}:")
        for row in group:
            print(printable(f"  {row.thing}: {row.said}"))
    counts = {result: sum(row.result == result for row in rows) for result in (PASSED, FAILED, LEFT)}
    print("\n" + ", ".join(f"{count} {result}" for result, count in counts.items() if count))
