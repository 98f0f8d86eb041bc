"""Collect pairs of noise and tokens from a teacher, for methods that learn from them (DD1).

    python -m ardistill collect teacher=var n=100000 out=DIR
    python -m ardistill collect teacher=var n=200000 out=DIR       goes on with those there, or after an interruption
    python -m ardistill collect teacher=var n=100000 out=DIR trajectory=ancestral seed=1 batch=500

The same words in several processes, at once, on one machine or on several that share DIR, share the work. Shards that
are there are verified and damaged ones made anew. Pairs of another teacher, tokenizer, guidance, trajectory or seed are
refused. Pair i depends on seed and i; neither batch nor the number of processes plays a part.
"""

from pathlib import Path

import attrs
from attrs.validators import ge, gt, le

from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import Section, TeacherWords, section_of, structure_words
from ardistill.errors import ConfigError
from ardistill.plugins import discover
from ardistill.wording import shown

SUMMARY = "collect pairs of noise and tokens from a teacher"


@attrs.frozen(kw_only=True)
class CollectWords(TeacherWords):
    """What `ardistill collect` takes."""

    trajectory: Section = attrs.field(metadata=section_of("trajectory", default="flow-matching"))
    """How noise and tokens come to belong together."""
    n: int = attrs.field(validator=[ge(1), le(10**9)])
    """How many pairs are to be there in the end."""
    out: Path
    """The folder; it is made, or gone on with."""
    seed: int = attrs.field(default=0, validator=[ge(0), le(2**63 - 1)])
    batch: int = attrs.field(default=100, validator=gt(0))
    """Pairs made at once."""


def main(words: list[str]) -> int:
    registry = discover()
    given = structure_words(words, CollectWords, registry=registry)
    _check_folder(given.out)

    from ardistill.launch.collecting import collect  # imports torch, so only now
    from ardistill.weights import reporting

    with shown_progress() as progress, reporting(progress):
        done = collect(
            given,
            given.trajectory,
            registry,
            progress,
            n=given.n,
            out=given.out,
            seed=given.seed,
            batch=given.batch,
        )
    print(f"{given.out}: {given.n} pairs, {done.bytes_each:.0f} bytes each")
    rate = f", {done.made / done.seconds:.1f} images/s" if done.made else ""
    print(f"{done.made} made here in {done.seconds:.1f} s{rate}")
    return 0


def _check_folder(out: Path) -> None:
    try:
        taken = out.exists() and not out.is_dir()
    except OSError as error:
        raise ConfigError(f"out={shown(str(out))} is no folder's name ({error.strerror})") from error
    if taken:
        raise ConfigError(f"out={out} is a file; give a folder")
