"""VAR's own sampler, random numbers and all, and the smoothed variant of its demo.

Legend: B batch, L tokens of all scales, n tokens of one scale, C code width, V codes.
Sources: VAR models/var.py:autoregressive_infer_cfg, models/helpers.py:gumbel_softmax_with_rng.
"""

import torch
from torch import Tensor

from ardistill.protocols import Condition
from ardistill_var.teacher import VARTeacher


def random_labels(count: int, n_classes: int, generator: torch.Generator) -> Tensor:
    """(count,) int64 uniform classes, as upstream draws them where no labels are given."""
    uniform = torch.full((n_classes,), 1 / n_classes, device=generator.device)
    return torch.multinomial(uniform, count, replacement=True, generator=generator)


@torch.no_grad()
def sample(
    teacher: VARTeacher, labels: Tensor | int, generator: torch.Generator, *, smooth: bool = False
) -> tuple[Tensor, Tensor]:
    """Tokens (B, L) and images (B, channels, H, W) in [-1, 1], drawn from one generator in upstream's order.

    `labels` are (B,), or a number of images whose classes are drawn first. With `smooth` tokens are drawn all the same,
    but what is accumulated and decoded is a mean of codes: under the softmax of the filtered logits, sharpened towards
    the last scale, plus Gumbel noise, at a temperature that falls from 0.27. It looks smoother; no published figure
    uses it.
    """
    if isinstance(labels, int):
        labels = random_labels(labels, teacher.n_classes, generator)
    cursor = teacher.start(Condition(labels))
    tokens, latents = [], []
    for step in range(teacher.layout.n_steps):
        log_p_BnV = cursor.log_probs()
        drawn = torch.multinomial(log_p_BnV.exp().flatten(0, 1), 1, replacement=True, generator=generator)
        tokens.append(drawn.view(log_p_BnV.shape[:2]))
        if smooth:
            progress = step / max(1, teacher.layout.n_steps - 1)
            latents.append(_mean_code(log_p_BnV, progress, teacher.tokenizer.codebook, generator))
        else:
            latents.append(teacher.tokenizer.codebook[tokens[-1]])
        cursor.accept_vectors(latents[-1])
    return torch.cat(tokens, dim=1), teacher.tokenizer.decode(torch.cat(latents, dim=1))


def _mean_code(log_p_BnV: Tensor, progress: float, codes_VC: Tensor, generator: torch.Generator) -> Tensor:
    """(B, n, C); `progress` runs from 0 at the first scale to 1 at the last. Log-probabilities serve as logits."""
    temperature = max(0.27 * (1 - 0.95 * progress), 0.005)
    gumbel_BnV = -torch.empty_like(log_p_BnV).exponential_(generator=generator).log()
    return torch.softmax((log_p_BnV * (1 + progress) + gumbel_BnV) / temperature, dim=-1) @ codes_VC
