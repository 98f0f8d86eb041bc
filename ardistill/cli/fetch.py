"""Fetch public files: feature networks, reference statistics, official checkpoints.

    python -m ardistill fetch                                 lists them
    python -m ardistill fetch NAME... [out=DIR] [from=URL]
    python -m ardistill fetch inception adm-imagenet256
    python -m ardistill fetch vgg16 from=https://mirror.example/models/

They go into $ARDISTILL_HOME/assets (without it, ardistill/assets in the user's cache), where evaluation looks for them,
or into `out`, which must exist. Each is compared with its published sha256; where none is known, the one seen first is
recorded beside the file, and compared with later. A fetch that was interrupted goes on where it stood. `from` is the
file's address at a mirror, or the folder's, with a slash at its end; https, or http on this machine.
"""

import re
import sys
from pathlib import Path

import attrs

from ardistill.assets.catalogue import Asset, asset, catalogue
from ardistill.assets.fetching import Fetched, fetch, is_whole
from ardistill.assets.finding import store, torch_cache
from ardistill.assets.hashing import SHOWN_DIGITS, record_of
from ardistill.assets.requesting import check_address
from ardistill.cli import take_option
from ardistill.cli.terminal import print_table, progress
from ardistill.config import structure_words
from ardistill.errors import ConfigError
from ardistill.wording import printable

SUMMARY = "download public files: feature networks, statistics, official checkpoints"

_LONG_HASH = re.compile(r"([0-9a-f]{8})[0-9a-f]{56}")


@attrs.frozen(kw_only=True)
class FetchWords:
    """What `ardistill fetch` takes besides names and `from`, which is no name Python allows."""

    out: Path | None = None


def main(words: list[str]) -> int:
    mirror, rest = take_option(words, "from")
    names = [word for word in rest if "=" not in word]
    out = structure_words([word for word in rest if "=" in word], FetchWords).out
    wanted = [asset(name) for name in dict.fromkeys(names)]
    if mirror is not None:
        _check_mirror(mirror, wanted)
    if not wanted:
        _print_table(out)
        return 0
    folder = _folder(out)
    for each in wanted:
        _fetch(each, folder, mirror, anywhere=out is None)
    return 0


def _check_mirror(mirror: str, wanted: list[Asset]) -> None:
    check_address(mirror)
    if not wanted:
        raise ConfigError(
            "from=URL lacks the name of what to fetch; run `python -m ardistill fetch` for the names"
        )
    if len(wanted) > 1 and not mirror.endswith("/"):
        raise ConfigError(
            "from=URL is one file's address, and several are asked for; end it with / for a folder's"
        )


def _folder(out: Path | None) -> Path:
    if out is None:
        folder = store()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{folder} can't be made ({error.strerror}); give another folder with out=DIR, or set ARDISTILL_HOME"
            ) from error
        return folder
    folder = out.expanduser()
    if not folder.is_dir():
        raise ConfigError(f"out={out} is no folder; make it first, or leave it out for {store()}")
    return folder


def _fetch(wanted: Asset, folder: Path, mirror: str | None, *, anywhere: bool) -> None:
    cached = torch_cache() / wanted.file
    if anywhere and wanted.sha256 and not (folder / wanted.file).is_file() and is_whole(wanted, cached):
        print(printable(f"{wanted.name} is there already: {cached}, sha256 {_judged(wanted, cached)}"))
        return
    url = f"{mirror}{wanted.file}" if mirror is not None and mirror.endswith("/") else mirror

    def waiting() -> None:
        print(
            printable(f"another process is fetching {wanted.file}; waiting for it"),
            file=sys.stderr,
            flush=True,
        )

    with progress() as shown_progress:
        fetched = fetch(wanted, folder, shown_progress, url=url, waiting=waiting)
    _tell(wanted, fetched)


def _tell(wanted: Asset, fetched: Fetched) -> None:
    judged = _judged(wanted, fetched.path)
    if fetched.was_there:
        print(printable(f"{wanted.name} is there already: {fetched.path}, sha256 {judged}"), flush=True)
        return
    size = f"{fetched.path.stat().st_size / 2**20:.1f} MiB"
    print(
        printable(
            f"{wanted.name} -> {fetched.path}: {size}, sha256 {fetched.sha256[:SHOWN_DIGITS]}... {judged}"
        )
    )
    print(
        printable(f"  {wanted.about}; licence: {wanted.licence or 'see its page'}; {wanted.page}"), flush=True
    )


def _judged(wanted: Asset, path: Path) -> str:
    if wanted.sha256 is None:
        return f"not pinned: no hash is published; {record_of(path).name} records the first one seen"
    return "as published" if wanted.sha256_by == "publisher" else "as on public record"


def _print_table(out: Path | None) -> None:
    folder, cache = out or store(), torch_cache()
    print_table(
        [
            (
                each.name,
                _LONG_HASH.sub(r"\1...", each.file),
                _size(each, folder),
                _where(each, folder, cache),
                each.about,
            )
            for each in catalogue().values()
        ],
        ("name", "file", "MiB", "there", "about"),
    )
    print()
    print(printable(f"`python -m ardistill fetch NAME...` fetches into {folder}"))


def _size(wanted: Asset, folder: Path) -> str:
    path = folder / wanted.file
    size = wanted.size or (path.stat().st_size if path.is_file() else None)
    return "-" if size is None else f"{size / 2**20:.1f}"


def _where(wanted: Asset, folder: Path, cache: Path) -> str:
    if (folder / wanted.file).is_file():
        return "yes"
    return "torch's cache" if (cache / wanted.file).is_file() else "no"
