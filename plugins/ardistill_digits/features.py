"""The network that judges digits: a small convolutional classifier whose last hidden layer gives the features.

Pairs of digits are judged by the same network, half by half.

Legend: B batch, C channels, F features, Z classes, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardistill.errors import WeightsError
from ardistill.protocols import WeightsFinder
from ardistill.weights import load_strict, read_weights

KIND = "digits-features"


class DigitFeatures(nn.Module):
    """Images -> 48 features and 10 logits, 56,000 parameters (`ardistill.protocols.FeatureNetwork`)."""

    name = "digits"
    n_features = 48

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 48, 3, stride=2, padding=1)
        self.hidden = nn.Linear(48 * 16, self.n_features)
        self.classes = nn.Linear(self.n_features, 10)

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 16, 16) in [-1, 1] -> features (B, 48) and logits (B, 10)."""
        h_BCHW = images_B3HW.float().mean(1, keepdim=True)  # the data is grey, so only greyness counts
        for conv in (self.conv1, self.conv2, self.conv3):
            h_BCHW = F.gelu(conv(h_BCHW))
        features_BF = F.gelu(self.hidden(h_BCHW.flatten(1)))
        return features_BF, self.classes(features_BF)


class SumFeatures(nn.Module):
    """Two digits side by side -> the features of both halves, and logits of their sum modulo ten."""

    name = "digit-sums"
    n_features = 2 * DigitFeatures.n_features

    def __init__(self, network: DigitFeatures) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 16, 32) in [-1, 1] -> features (B, 96) and log-probabilities of the sums (B, 10).

        The halves are independent for the network, so the sum's distribution is the convolution of theirs.
        """
        halves = [self.network(half_B3HW) for half_B3HW in images_B3HW.chunk(2, dim=3)]
        left_BZ, right_BZ = (logits_BZ.log_softmax(1) for _, logits_BZ in halves)
        digit_Z = torch.arange(left_BZ.shape[1], device=left_BZ.device)
        other_ZZ = (digit_Z[:, None] - digit_Z) % len(digit_Z)  # sum, left digit -> right digit
        sums_BZ = (left_BZ[:, None, :] + right_BZ[:, other_ZZ]).logsumexp(2)
        return torch.cat([features_BF for features_BF, _ in halves], dim=1), sums_BZ


def load_features(weights: WeightsFinder) -> DigitFeatures:
    """The trained network that `weights` finds as "features"."""
    path = weights("features")
    if path is None:
        raise WeightsError("this data brings no feature network; make one with: ardistill pretrain digits")
    file = read_weights(path)
    if file.about.get("kind") != KIND:
        raise WeightsError(f"{path} holds {file.about.get('kind')!r}, and {KIND!r} is expected")
    network = DigitFeatures()
    load_strict(network, file, "the digits' feature network")
    return network.eval().requires_grad_(False)


def load_sum_features(weights: WeightsFinder) -> SumFeatures:
    """Judges pairs of digits with the trained network that `weights` finds as "features"."""
    return SumFeatures(load_features(weights)).eval()
