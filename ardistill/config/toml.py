"""Configurations as TOML files."""

import tomllib
from pathlib import Path

import tomli_w

from ardistill.config.section import plain
from ardistill.config.words import Tree
from ardistill.errors import ConfigError
from ardistill.wording import printable


def dump_toml(config: object) -> str:
    """A file that gives the same configuration again: every value is written, also where it is a default."""
    return tomli_w.dumps(plain(config))


def read_toml(path: Path) -> Tree:
    """The file's tables as nested dicts."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {printable(str(path))}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or a number without end
        raise ConfigError(f"{printable(str(path))} is not a TOML file: {printable(str(error))}") from error
