"""A tensor's name in messages. Files decide about it, so it may be long or steer a terminal."""

from ardistill.wording import printable

_LONGEST = 80


def named(key: str) -> str:
    """The key on one line, cut where no network's is as long.

    >>> named("blocks.0.weight"), len(named("k" * 5000))
    ('blocks.0.weight', 83)
    """
    text = printable(key)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
