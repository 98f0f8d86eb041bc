"""ardistill plugins [--json] [--strict]

Lists what the installed plugins offer, with their distributions and versions, then the plugins that cannot be
used and why. A broken plugin stops nothing that does not need it.

  --json    the same as one JSON object: {"offers": [...], "problems": [...], "left_out": [...]}
  --strict  exit code 1 where anything is wrong with any plugin, for continuous integration

The variable ARDISTILL_PLUGINS chooses: -NAME,-NAME leaves distributions out, NAME,NAME asks those and ardistill's own.

ardistill plugins check NAME [WORDS]

Whether plugins keep what the protocols promise: a table of checks, what was expected and found where one failed, and
exit code 1 where any did. NAME is one offer, or a distribution and so all it brings:

    python -m ardistill plugins check teacher:var
    python -m ardistill plugins check method:mine method.images=1000 teacher=var
    python -m ardistill plugins check my-distribution teacher.checkpoint=PATH

Methods and trajectories are checked on a small teacher of the kit's own, and on teacher=NAME where that is given; the
preset quick is applied. A student without student.checkpoint=PATH is one that a teacher or method of its plugin makes.
A feature network takes weights=PATH, a teacher of captions captions=PATH. What needs a file that is not given is not
checked, and says so.

ardistill plugins new KIND NAME [out=DIR]

Begins a package of your own, a teacher, tokenizer, method or metric: it installs, is found, and works on the digits as
it is. Without out, the folder is ardistill-NAME here.

    python -m ardistill plugins new method mine
"""

import json
import sys
from importlib import import_module

import attrs

from ardistill.cli import refuse_rest, take_flag
from ardistill.cli.terminal import print_table
from ardistill.plugins import Registry, discover
from ardistill.wording import printable

SUMMARY = "list plugins: what they offer, where they come from, what is wrong with them"


UNDER = {"check": "ardistill.cli.checking", "new": "ardistill.cli.beginning"}
"""The verbs under this one, imported when asked for: the first needs torch."""


def main(words: list[str]) -> int:
    if words and words[0] in UNDER:
        code: int = import_module(UNDER[words[0]]).main(words[1:])
        return code
    as_json, rest = take_flag(words, "--json")
    strict, rest = take_flag(rest, "--strict")
    refuse_rest(rest, ["--json", "--strict"])
    registry = discover()
    if as_json:
        json.dump(_as_json(registry), sys.stdout, indent=2)
        print()
    else:
        _print(registry)
    return 1 if strict and registry.problems else 0


def _print(registry: Registry) -> None:
    print_table(
        [
            (
                found.offer.kind,
                found.offer.name,
                found.offer.summary,
                found.origin.distribution,
                found.origin.version,
            )
            for found in registry.offers()
        ],
        ("kind", "name", "summary", "distribution", "version"),
    )
    if registry.problems:
        print("\nproblems:")
    for problem in registry.problems:
        print(printable(f"  {problem.origin.plugin} {problem.origin.version}: {problem.reason}"))
    if registry.left_out:
        print("\nleft out by ARDISTILL_PLUGINS:")
    for origin in registry.left_out:
        print(printable(f"  {origin.plugin} {origin.version}"))


def _as_json(registry: Registry) -> dict[str, list[dict[str, str]]]:
    return {
        "offers": [
            {"kind": found.offer.kind, "name": found.offer.name, "summary": found.offer.summary}
            | attrs.asdict(found.origin)
            for found in registry.offers()
        ],
        "problems": [
            {"reason": problem.reason} | attrs.asdict(problem.origin) for problem in registry.problems
        ],
        "left_out": [attrs.asdict(origin) for origin in registry.left_out],
    }
