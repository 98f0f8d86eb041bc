"""Convert weights files to safetensors.

    python -m ardistill convert FILE... [out=DIR] [prefer=raw] [overwrite=true]
    python -m ardistill convert var_d16.pth vae_ch160v4096z32.pth
    python -m ardistill convert hf://FoundationVision/var/var_d16.pth out=weights

FILE is safetensors, or a torch file of VAR, LlamaGen, taming-transformers or Distilled Decoding; without `=` in its
name. Nothing in it is run. FILE's name with the ending .safetensors is written beside it, or into `out`; files of
the Hub (`hf://owner/repo/file[@revision]`) go into the present folder, or `out`. Of averaged (EMA) weights and those
as trained, the averaged are taken where a file has both; prefer=raw takes the others.
"""

import os
from pathlib import Path
from typing import Literal

import attrs

from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import structure_words
from ardistill.errors import ConfigError
from ardistill.wording import printable, shown

SUMMARY = "convert weights files to safetensors"


@attrs.frozen(kw_only=True)
class ConvertWords:
    """What `ardistill convert` takes besides its files."""

    out: Path | None = None
    prefer: Literal["ema", "raw"] = "ema"
    overwrite: bool = False


def main(words: list[str]) -> int:
    files = [word for word in words if _names_file(word)]
    given = structure_words([word for word in words if not _names_file(word)], ConvertWords)
    if not files:
        raise ConfigError("convert lacks its files; write: ardistill convert FILE... [out=DIR]")
    jobs = _jobs(files, given)

    from ardistill.weights import convert, reporting

    for file, target in jobs:
        with shown_progress() as progress, reporting(progress):
            made = convert(file, target, prefer=given.prefer)
        source = f", from {'.'.join(made.wrapping)}" if made.wrapping else ""
        size = f"{made.n_bytes / 2**20:.1f} MiB"
        print(printable(f"{file} -> {target}: {made.n_tensors} tensors, {size}{source}"), flush=True)
    return 0


def _names_file(word: str) -> bool:
    """Whether it names a file rather than an option."""
    name, sign, _ = word.partition("=")
    if not sign or name.startswith(("http://", "https://")):
        return True
    if name not in attrs.fields_dict(ConvertWords) and os.path.isfile(word):  # noqa: PTH113, Path's raises for long words
        raise ConfigError(f"{word} can't be converted: a file's name must not hold '='; rename it")
    return False


def _jobs(files: list[str], given: ConvertWords) -> list[tuple[str, Path]]:
    """Each file with its target; what can be known to fail fails here, before anything is written."""
    from ardistill.weights.hub import is_remote

    jobs: dict[Path, str] = {}
    for file in files:
        target = _target(file, given.out)
        if target in jobs:
            raise ConfigError(f"{shown(jobs[target])} and {shown(file)} would both be written to {target}")
        if target.is_dir():
            raise ConfigError(f"{target} is a directory; give another out=DIR")
        if target.exists() and not is_remote(file) and target.samefile(file):
            raise ConfigError(f"{file} would be written over itself; give another folder with out=DIR")
        if target.exists() and not given.overwrite:
            raise ConfigError(f"{target} is there already; give another out=DIR, or overwrite=true")
        if not (target.parent.is_dir() and os.access(target.parent, os.W_OK)):
            raise ConfigError(f"{target.parent} is no folder that can be written to; give another out=DIR")
        jobs[target] = file
    return [(file, target) for target, file in jobs.items()]


def _target(file: str, out: Path | None) -> Path:
    from ardistill.weights.contents import check_present
    from ardistill.weights.hub import address_of, is_remote

    if is_remote(file):
        source = Path(address_of(file).name)
    else:
        source = Path(file)
        check_present(source)
    return (source.parent if out is None else out) / f"{source.stem}.safetensors"
