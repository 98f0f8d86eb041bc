"""Training the feature network: cross-entropy with smoothed labels on warped digits.

Legend: B batch, F features, Z classes, H W pixels.
"""

import torch.nn.functional as F
from ardistill_vqgan.quantizer_training import initialise
from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import Progress, Role
from ardistill_digits.config import FeaturesRecipe
from ardistill_digits.data import Digits
from ardistill_digits.features import DigitFeatures
from ardistill_digits.fitting import fit


def train_features(recipe: FeaturesRecipe, data: Digits, seed: int, progress: Progress) -> DigitFeatures:
    """A trained feature network, frozen."""
    network = DigitFeatures()
    initialise(network, seed=seed)

    def loss(draw: Draw) -> Tensor:
        images_B3HW, labels_B = data.images("train", draw)
        features_BF, _ = network(images_B3HW)
        kept_BF = draw.uniform("dropout", network.n_features) >= recipe.dropout
        logits_BZ = network.classes(features_BF * kept_BF / (1 - recipe.dropout))
        return F.cross_entropy(logits_BZ, labels_B, label_smoothing=recipe.smoothing)

    role = Role(
        network, lr=recipe.lr, warmup=4_000, decay=0.0, betas=(0.9, 0.999), weight_decay=recipe.weight_decay
    )
    fit(role, loss, name="features", images=recipe.images, batch=recipe.batch, seed=seed, progress=progress)
    return network.requires_grad_(False)
