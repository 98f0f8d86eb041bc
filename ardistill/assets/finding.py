"""Where the files are looked for: the path that was given, our store, torch's own cache."""

import os
import sys
from pathlib import Path

from ardistill.assets.catalogue import Asset, asset
from ardistill.assets.hashing import check
from ardistill.errors import WeightsError


def store() -> Path:
    """The folder of fetched files: $ARDISTILL_HOME/assets, else ardistill/assets in the user's cache."""
    home = os.environ.get("ARDISTILL_HOME")
    return (Path(home).expanduser() if home else _user_cache() / "ardistill") / "assets"


def torch_cache() -> Path:
    """The folder where torch, and with it torch-fidelity and torchvision, keeps what it downloads.

    That is torch.hub.get_dir()/checkpoints. Without torch loaded nothing can have moved it, and its documented rule
    tells as much as an import of two seconds.
    """
    if torch := sys.modules.get("torch"):
        return Path(torch.hub.get_dir()) / "checkpoints"
    home = os.environ.get("TORCH_HOME")
    return (Path(home).expanduser() if home else _user_cache() / "torch") / "hub" / "checkpoints"


def located(name: str, given: Path | None, option: str) -> Path:
    """The file of that name on this machine: at `given`, which must be it, else in our store, else in torch's cache.

    `option` is how a user passes the path, for messages: "eval.weights=PATH". Raises WeightsError where the file
    is nowhere, or is not what its known hash says; ConfigError where there is no such name.
    """
    wanted = asset(name)
    path = _found(wanted, option) if given is None else _given(wanted, given, option)
    check(wanted, path, option)
    return path


def _found(wanted: Asset, option: str) -> Path:
    places = [store(), torch_cache()]
    for folder in places:
        if (folder / wanted.file).is_file():
            return folder / wanted.file
    raise WeightsError(
        f"{wanted.name} needs {wanted.file}, which is neither at {places[0]} nor at {places[1]}; run `python -m "
        f"ardistill fetch {wanted.name}` where there is a network (it is published at {wanted.url}), or give {option}"
    )


def _given(wanted: Asset, given: Path, option: str) -> Path:
    from ardistill.weights.hub import fetched, is_remote

    if is_remote(given):
        return fetched(given)
    path = given.expanduser()
    if not path.is_file():
        raise WeightsError(
            f"{option.partition('=')[0]}={given} is no file; give the path of {wanted.file}, or nothing, and run "
            f"`python -m ardistill fetch {wanted.name}` (it is published at {wanted.url})"
        )
    return path


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
