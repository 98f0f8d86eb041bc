"""What training either tokenizer needs: how alike two images are, and which codes are in use.

Legend: B batch, C code width, H W pixels, L tokens, V codes.
"""

import attrs
import torch
from ardistill_vqgan.quantizer_training import code_usage
from torch import Tensor

from ardistill_digits.config import CodingRecipe
from ardistill_digits.features import DigitFeatures

RESTART_EVERY = 25  # updates
DEAD = 0.02  # of the mean usage
MEMORY = 0.98  # decay of the usage, per update


def distance(
    made_B3HW: Tensor, images_B3HW: Tensor, recipe: CodingRecipe, network: DigitFeatures | None
) -> Tensor:
    """Squared and absolute error of pixels, squared error of the network's features."""
    error_B3HW = made_B3HW - images_B3HW
    total = error_B3HW.square().mean() + recipe.l1 * error_B3HW.abs().mean()
    if network is not None and recipe.perceptual:
        seen_BF, real_BF = network(made_B3HW)[0], network(images_B3HW)[0]
        total = total + recipe.perceptual * (seen_BF - real_BF).square().mean()
    return total


@attrs.define(eq=False)
class CodeUse:
    """How often each code was used of late: (V,), as if all had been used alike before the first count."""

    recipe: CodingRecipe
    n_codes: int
    n_tokens: int
    usage_V: Tensor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.usage_V = torch.full((self.n_codes,), self.mean)

    @property
    def mean(self) -> float:
        """Uses of a code that `usage_V` settles at when all codes are used alike."""
        return self.recipe.batch * self.n_tokens / self.n_codes / (1 - MEMORY)

    @property
    def threshold(self) -> float:
        """Below it a code counts as dead."""
        return DEAD * self.mean

    def count(self, tokens_BL: Tensor) -> None:
        self.usage_V = self.usage_V * MEMORY + code_usage(tokens_BL, self.n_codes)

    def restart_due(self, start: int) -> bool:
        """Whether dead codes are moved at this update."""
        update = start // self.recipe.batch
        return update % RESTART_EVERY == 0 and start <= self.recipe.restart_share * self.recipe.images

    def moved(self, moved_V: Tensor) -> None:
        """Codes that moved start over with the mean."""
        self.usage_V[moved_V] = self.mean
