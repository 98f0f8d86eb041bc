"""Arguments of Python calls as the trees that configurations are made of."""

from collections.abc import Mapping
from pathlib import Path

from ardistill.config.words import Tree, nest


def tree_of(settings: Mapping[str, object]) -> Tree:
    """Arguments as TOML would have them: paths as text, tuples as lists; dotted keys nest.

    >>> tree_of({"method": "dd2", "method.images": 5, "out": Path("a/b")})
    {'method': {'name': 'dd2', 'images': 5}, 'out': 'a/b'}
    """
    return nest((key, _plain(value)) for key, value in settings.items())


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return tree_of(value)
    return list(value) if isinstance(value, tuple) else value
