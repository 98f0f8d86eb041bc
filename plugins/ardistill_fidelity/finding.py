"""Where a network's weights are: the file a user gave, else the published one that was fetched before."""

import logging
from pathlib import Path

from ardistill.assets import asset, located, sha256_of
from ardistill.protocols import WeightsFinder
from ardistill.weights import is_remote
from ardistill.weights.hub import fetched

OPTION = "eval.weights=PATH"
_SHOWN_DIGITS = 8


def weights_path(name: str, weights: WeightsFinder) -> Path:
    """The file that `weights` finds as "features", else the asset of that name.

    A given file may be any, as one of the same numbers in another format; that it is not the published one is logged,
    since figures of other networks compare with nobody's. Raises WeightsError where nothing is given, and the asset is
    not there or not what its hash says.
    """
    given = weights("features")
    if given is None:
        return located(name, None, OPTION)
    path = fetched(given) if is_remote(given) else given.expanduser()
    expected = asset(name).sha256
    if expected is not None and path.is_file() and (found := sha256_of(path)) != expected:
        logging.getLogger("ardistill").warning(
            "%s is not the published file of %s (its sha256 begins with %s instead of %s): figures compare with "
            "published ones only if it holds the same numbers",
            path,
            name,
            found[:_SHOWN_DIGITS],
            expected[:_SHOWN_DIGITS],
        )
    return path
