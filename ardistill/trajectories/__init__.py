"""Pairs of noise and tokens: collecting them, keeping them, reading them.

A *pair* is noise and tokens that belong together (`protocols.Trajectory`), made by a registered trajectory. Tokens and
class labels are stored, in shards; noise never is, since (seed, index) makes it anew.
"""

from ardistill.trajectories.origin import Origin
from ardistill.trajectories.pairs import Pairing, Pairs

__all__ = ["Origin", "Pairing", "Pairs"]
