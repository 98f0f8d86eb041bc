"""Words and files -> configuration objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from ardistill.config.explain import explain
from ardistill.config.layers import Layer, compose
from ardistill.config.toml import read_toml
from ardistill.config.tree import RunConfig
from ardistill.config.values import converter
from ardistill.config.words import Tree, parse_words
from ardistill.errors import ConfigError
from ardistill.plugins import Registry, discover

T = TypeVar("T")


def load(words: Sequence[str], toml_path: Path | None = None, registry: Registry | None = None) -> RunConfig:
    """The configuration of a run: `toml_path` first, `words` over it. See `structure_words`."""
    return structure_words(words, RunConfig, toml_path, registry)


def structure_words(
    words: Sequence[str], cls: type[T], toml_path: Path | None = None, registry: Registry | None = None
) -> T:
    """An instance of any attrs class from a TOML file and, stronger, words.

    Raises ConfigError or PluginError, one sentence each. Words that choose another plugin than the file does
    void the file's settings of that section.
    """
    trees = [] if toml_path is None else [read_toml(toml_path)]
    return structure_trees([*trees, parse_words(words)], cls, registry)


def structure_trees(trees: Sequence[Tree], cls: type[T], registry: Registry | None = None) -> T:
    """An instance of any attrs class from nested dicts, the last one strongest."""
    layers = [Layer(tree, _is_quick(tree)) for tree in trees]
    tree = compose(cls, layers, discover() if registry is None else registry)
    try:
        return converter.structure(tree, cls)
    except Exception as error:
        raise ConfigError(explain(error, cls, tree)) from error


def _is_quick(tree: Tree) -> bool:
    quick = tree.get("quick")
    return quick is True or quick == "true"
