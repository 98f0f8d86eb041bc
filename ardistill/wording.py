"""Wording that messages share: the nearest valid name, and what was given, shown safely and briefly."""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 60
"""Characters of a user's input that a message repeats."""


def nearest(given: str, options: Iterable[str]) -> str | None:
    """The option most like `given`, or None; a dotted option also matches by its last part alone."""
    known = sorted(set(options))
    given = given[:LONGEST]
    close = get_close_matches(given, known, n=1)
    if close:
        return close[0]
    ends = {option.rpartition(".")[2]: option for option in reversed(known)}
    close = get_close_matches(given.rpartition(".")[2], list(ends), n=1)
    return ends[close[0]] if close else None


def did_you_mean(given: str, options: Iterable[str]) -> str:
    """The end of a sentence: `; did you mean X?` where an option is near, else nothing."""
    option = nearest(given, options)
    return "" if option is None else f"; did you mean {option}?"


def listed(options: Iterable[str]) -> str:
    """`a, b, c`, or `none`."""
    return ", ".join(options) or "none"


def printable(text: str) -> str:
    """`text` on one line, every character that could steer a terminal escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def shown(value: object) -> str:
    """A user's value for a message: text quoted, on one line, cut after `LONGEST` characters."""
    text = printable(repr(str(value)) if isinstance(value, str) else repr(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def message_of(error: BaseException) -> str:
    """The first line of what an exception says. attrs' validators put their objects behind the message."""
    several = len(error.args) > 1 and type(error) in (ValueError, TypeError)
    text = error.args[0] if several else str(error)
    return str(text).strip().partition("\n")[0].rstrip(".")
