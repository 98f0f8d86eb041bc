"""In which order pairs are learned from: every pair once an epoch, the first epoch as they were collected.

Shape legend: B batch, n pairs.
"""

import attrs
import torch
from torch import Tensor

from ardistill.noise import stream_key


@attrs.define(eq=False)
class Epochs:
    """The pair of every training image, a function of the image's number alone."""

    n_pairs: int
    seed: int
    _shuffled: tuple[int, Tensor] | None = None

    def pairs(self, images_B: Tensor) -> Tensor:
        """(B,) int64 on the CPU: the pairs of the given training images, counted from 0.

        Pairs are drawn independently of one another, so the first epoch needs no shuffling, and streams.
        """
        images_B = images_B.cpu()
        places_B, epochs_B = images_B % self.n_pairs, images_B // self.n_pairs
        pairs_B = places_B.clone()
        for epoch in sorted(set(epochs_B.tolist())):
            if epoch:
                of_epoch_B = epochs_B == epoch
                pairs_B[of_epoch_B] = self._order(epoch)[places_B[of_epoch_B]]
        return pairs_B

    def _order(self, epoch: int) -> Tensor:
        """(n,) int64: a shuffling of its own for every epoch but the first."""
        if self._shuffled is None or self._shuffled[0] != epoch:
            generator = torch.Generator().manual_seed(stream_key("dd1/epoch", self.seed, epoch) >> 1)
            self._shuffled = epoch, torch.randperm(self.n_pairs, generator=generator)
        return self._shuffled[1]
