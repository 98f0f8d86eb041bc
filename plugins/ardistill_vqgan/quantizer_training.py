"""Help for training codebooks: k-means initialisation, dead-code restart, and seeded initial weights.

Legend: N vectors, V codes, C code width. All randomness comes from the seed in the arguments.
"""

import math

import torch
from torch import Tensor, nn

from ardistill.errors import DataError
from ardistill_vqgan.quantizer import nearest_codes


def pick_rows(x_NC: Tensor, count: int, seed: int) -> Tensor:
    """(count, C): rows drawn without replacement; every row again and again where there are fewer."""
    if not len(x_NC):
        raise DataError("a codebook cannot be made from 0 vectors; give at least one batch of features")
    generator = torch.Generator().manual_seed(seed)
    rounds = math.ceil(count / len(x_NC))
    order = torch.cat([torch.randperm(len(x_NC), generator=generator) for _ in range(rounds)])
    return x_NC[order[:count].to(x_NC.device)]


def spread_rows(x_NC: Tensor, count: int, seed: int) -> Tensor:
    """(count, C): rows drawn one by one, likelier the farther they lie from those drawn before.

    The k-means++ seeding (Arthur and Vassilvitskii, 2007): probability proportional to the squared distance.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, generator=generator).tolist()
    rows = [pick_rows(x_NC, 1, seed)[0]]
    distance_N = torch.full((len(x_NC),), torch.inf, device=x_NC.device)
    for u in uniform[1:]:
        distance_N = torch.minimum(distance_N, (x_NC - rows[-1]).square().sum(1))
        reach_N = distance_N.double().cumsum(0)
        index = torch.searchsorted(reach_N, u * reach_N[-1:], right=True)
        rows.append(x_NC[index.clamp_max(len(x_NC) - 1)][0])
    return torch.stack(rows)


@torch.no_grad()
def kmeans(x_NC: Tensor, n_codes: int, *, seed: int, iterations: int = 20) -> Tensor:
    """(N, C) vectors -> (n_codes, C) float32 centres by Lloyd's algorithm after k-means++ seeding.

    A centre that loses all its vectors moves to the vector farthest from its own centre.
    """
    x_NC = x_NC.detach().float()
    centres_VC = spread_rows(x_NC, n_codes, seed)
    for _ in range(iterations):
        index_N = nearest_codes(x_NC, centres_VC)
        count_V = torch.bincount(index_N, minlength=n_codes)
        sums_VC = torch.zeros_like(centres_VC).index_add_(0, index_N, x_NC)
        filled_V = count_V > 0
        n_empty = min(int((~filled_V).sum()), len(x_NC))
        if n_empty:
            far_N = (x_NC - centres_VC[index_N]).square().sum(1)
            empty_e = (~filled_V).nonzero().squeeze(1)[:n_empty]
            centres_VC[empty_e] = x_NC[far_N.topk(n_empty).indices]
        centres_VC[filled_V] = sums_VC[filled_V] / count_V[filled_V].unsqueeze(1)
    return centres_VC


def code_usage(tokens: Tensor, n_codes: int) -> Tensor:
    """How often each code occurs among tokens of any shape: (V,) int64."""
    return torch.bincount(tokens.reshape(-1), minlength=n_codes)


@torch.no_grad()
def restart_dead_codes(
    codebook_VC: Tensor, usage_V: Tensor, features_NC: Tensor, *, seed: int, threshold: float = 1.0
) -> Tensor:
    """Moves, in place, every code used less than `threshold` times onto a feature vector drawn with the seed.

    Returns (V,) bool, which codes moved, so that an optimiser's moments can be cleared for them.
    """
    dead_V = (usage_V < threshold).to(codebook_VC.device)
    n_dead = int(dead_V.sum())
    if n_dead:
        codebook_VC[dead_V] = pick_rows(features_NC.detach(), n_dead, seed).to(codebook_VC)
    return dead_V


@torch.no_grad()
def initialise(model: nn.Module, *, seed: int) -> None:
    """Draws all weights afresh from the seed, so that they do not hang on torch's global generator.

    Convolutions and linears are uniform with variance 1/(3 fan_in) as torch's default, biases zero, norms 1
    and 0, embeddings normal with deviation 1/sqrt(width).
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            _fill(module.weight, torch.rand(module.weight.shape, generator=generator) * (2 * bound) - bound)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            width = module.weight.shape[1]
            _fill(module.weight, torch.randn(module.weight.shape, generator=generator) / math.sqrt(width))
        elif isinstance(module, nn.GroupNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()


def _fill(parameter: Tensor, values: Tensor) -> None:
    parameter.copy_(values.to(parameter))
