"""Words `a.b=c` -> a nested dict of `Word`s."""

import re
from collections.abc import Iterable, Sequence

from ardistill.errors import ConfigError
from ardistill.wording import shown

Tree = dict[str, object]

_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class Word(str):
    """A value typed on the command line, read as its field's type demands. TOML's text is a plain str."""

    __slots__ = ()


def parse_words(words: Sequence[str]) -> Tree:
    """`["method=dd2", "method.alpha=1.0"]` -> `{"method": {"name": "dd2", "alpha": "1.0"}}`."""
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not _KEY.fullmatch(key):
            raise ConfigError(f"{shown(word)} is not a word of the form key=value, such as seed=3")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(f"the value of {key} is not valid UTF-8: {shown(value)}")
        pairs.append((key, Word(value)))
    return nest(pairs)


def nest(pairs: Iterable[tuple[str, object]]) -> Tree:
    """Dotted keys -> nested dicts. What has both a value and keys below it keeps the value as `name`."""
    tree: Tree = {}
    for key, value in pairs:
        *above, last = key.split(".")
        node = tree
        for part in above:
            below = node.setdefault(part, {})
            if not isinstance(below, dict):
                below = node[part] = {"name": below}
            node = below
        place = node.get(last)
        if isinstance(place, dict):
            node, last = place, "name"
        if last in node:
            raise ConfigError(f"{key} is given twice")
        node[last] = value
    return tree
