"""ardistill plugins [--json]

Lists what the installed plugins offer, with their distributions and versions, then the plugins that cannot be
used and why. A broken plugin stops nothing that does not need it.

  --json    the same as one JSON object: {"offers": [...], "problems": [...]}
"""

import json
import sys

import attrs

from ardistill.cli import refuse_rest, take_flag
from ardistill.cli.terminal import print_table
from ardistill.plugins import Registry, discover
from ardistill.wording import printable

SUMMARY = "list plugins: what they offer, where they come from, what is wrong with them"


def main(words: list[str]) -> int:
    as_json, rest = take_flag(words, "--json")
    refuse_rest(rest, ["--json"])
    registry = discover()
    if as_json:
        json.dump(_as_json(registry), sys.stdout, indent=2)
        print()
    else:
        _print(registry)
    return 0


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
    }
