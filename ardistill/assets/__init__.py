"""Named public files that are not bundled: feature networks, reference statistics, official checkpoints.

`catalogue.toml` names them, their addresses and hashes; `located` finds one on this machine; `fetch`, behind
`python -m ardistill fetch`, downloads it. Nothing here imports torch or reads what is in a file.
"""

from ardistill.assets.catalogue import Asset, asset, catalogue
from ardistill.assets.fetching import Fetched, fetch
from ardistill.assets.finding import located, store
from ardistill.assets.hashing import sha256_of

__all__ = ["Asset", "Fetched", "asset", "catalogue", "fetch", "located", "sha256_of", "store"]
