"""The verbs of the command line, one module each, imported when asked for and free of torch at import.

A verb's module has a docstring, which is its `--help`; `SUMMARY`, one line; and `main(words) -> exit code`.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from ardistill.errors import ConfigError
from ardistill.wording import did_you_mean, shown

VERBS = {
    "run": "ardistill.cli.run",
    "sweep": "ardistill.cli.sweep",
    "sample": "ardistill.cli.sample",
    "eval": "ardistill.cli.eval",
    "bench": "ardistill.cli.bench",
    "compare": "ardistill.cli.compare",
    "table": "ardistill.cli.table",
    "fetch": "ardistill.cli.fetch",
    "statistics": "ardistill.cli.statistics",
    "collect": "ardistill.cli.collect",
    "pretrain": "ardistill.cli.pretrain",
    "convert": "ardistill.cli.convert",
    "plugins": "ardistill.cli.plugins",
}


def take_option(words: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """The value of `--option VALUE` or `--option=VALUE`, None without it, and the other words.

    >>> take_option(["seed=1", "--config", "a.toml"], "--config")
    ('a.toml', ['seed=1'])
    """
    value, others, rest = None, [], iter(words)
    for word in rest:
        name, equals, given = word.partition("=")
        if name != option:
            others.append(word)
            continue
        if value is not None:
            raise ConfigError(f"{option} is given twice")
        value = given if equals else next(rest, "")
        if not value:
            raise ConfigError(f"{option} lacks its value")
    return value, others


def take_flag(words: Sequence[str], flag: str) -> tuple[bool, list[str]]:
    """Whether `flag` is among the words, and the other words."""
    return flag in words, [word for word in words if word != flag]


def refuse_rest(words: Sequence[str], options: Sequence[str]) -> None:
    """For verbs whose words are options only."""
    if words:
        known = did_you_mean(words[0], options) or f"; known: {', '.join(options)}"
        raise ConfigError(f"unknown word {words[0]!r}{known}")


def heads_of(words: Sequence[str]) -> set[str]:
    """The sections that words speak of, for verbs that take a run's folder or models named by words, not both.

    >>> sorted(heads_of(["student.checkpoint=a.pth", "n=3"]))
    ['n', 'student']
    """
    heads = {word.partition("=")[0].partition(".")[0] for word in words}
    if "run" in heads and (clash := heads & {"teacher", "student"}):
        raise ConfigError(f"run=DIR brings its own {min(clash)}; give either run= or {min(clash)}=, not both")
    return heads


def check_output(out: Path) -> None:
    """Whether a file can be put there, asked before the work that makes it."""
    try:
        fits, taken = out.parent.is_dir(), out.is_dir()
    except OSError as error:
        raise ConfigError(f"out={shown(str(out))} is no file's name ({error.strerror})") from error
    if not fits:
        raise ConfigError(f"out={out} lies in a folder that is not there; make {out.parent} first")
    if taken:
        raise ConfigError(f"out={out} is a directory; give a file")
    try:
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise ConfigError(f"out={out} can't be written ({error.strerror}); give a file elsewhere") from error
