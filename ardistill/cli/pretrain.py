"""Train the weights that come bundled with a data set, by the recipe that made them.

    python -m ardistill pretrain digits out=DIR
    python -m ardistill pretrain digits out=DIR part=teacher teacher.images=100000     only the VAR teacher
    python -m ardistill pretrain digits out=DIR quick=true                             a minute, to try it

out is the folder for the safetensors files (it is made; files of the same names are replaced once their
successors are whole). The other words are the recipe's own; the same words and seed give the same files. The parts of
`digits` are features, tokenizer and teacher (VAR's), vq and gpt (LlamaGen's), those of `digit-sums` tokenizer and
teacher; each builds on what DIR holds.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import NoSettings, structure_words
from ardistill.errors import ConfigError, RunFolderError
from ardistill.plugins import Registry, discover
from ardistill.wording import listed

SUMMARY = "train the weights that come with a data set"


def main(words: list[str]) -> int:
    registry = discover()
    name, rest = _recipe_name(words, registry)
    cls = registry.config_class("recipe", name) or NoSettings
    out, rest = _take_out(rest)
    settings: object = structure_words(rest, cls, registry=registry)
    _make_folder(out)
    recipe = registry.load("recipe", name)  # imports torch, so only now
    began = time.monotonic()
    with shown_progress() as progress:
        recipe(settings, out, progress)
    print(f"{out}: made in {time.monotonic() - began:.0f} s")
    return 0


def _recipe_name(words: Sequence[str], registry: Registry) -> tuple[str, list[str]]:
    known = listed(registry.names("recipe"))
    if not words or "=" in words[0]:
        raise ConfigError(f"pretrain needs a recipe's name first: pretrain NAME out=DIR; known: {known}")
    registry.get("recipe", words[0])
    return words[0], list(words[1:])


def _take_out(words: Sequence[str]) -> tuple[Path, list[str]]:
    """The word out=DIR is the verb's own; the others are the recipe's."""
    outs = [word for word in words if word.startswith("out=")]
    if len(outs) != 1 or outs[0] == "out=":
        raise ConfigError("pretrain needs one folder for the weights: out=DIR")
    return Path(outs[0].removeprefix("out=")), [word for word in words if word not in outs]


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"{out} can't be made a folder ({error.strerror}); give another out=DIR"
        ) from error
