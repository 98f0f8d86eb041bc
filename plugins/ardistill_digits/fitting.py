"""The plain training loop of the recipe: one role, one loss, everything drawn from (seed, name, image)."""

from collections.abc import Callable

from torch import Tensor, nn

from ardistill.noise import Draw
from ardistill.protocols import Progress, Role
from ardistill.training.optimise import Optimiser
from ardistill_digits.config import TransformerRecipe

Loss = Callable[[Draw], Tensor]


def transformer_role(model: nn.Module, average: nn.Module, recipe: TransformerRecipe) -> Role:
    """How either teacher is trained: AdamW, a short warm-up, cosine decay, weights averaged over training."""
    return Role(
        model,
        lr=recipe.lr,
        warmup=6_400,
        decay=0.02,
        weight_decay=recipe.weight_decay,
        average=average,
        ema_cap=recipe.ema,
    )


def fit(role: Role, loss: Loss, *, name: str, images: int, batch: int, seed: int, progress: Progress) -> None:
    """Minimises `loss(draw)` over `images` images in batches of `batch`; trains `role.module` in place."""
    optimiser = Optimiser(role)
    role.module.train()
    for start in range(0, images, batch):
        loss(Draw(seed, f"pretrain/{name}", start, batch)).backward()  # type: ignore[no-untyped-call]
        optimiser.step(start, images)
        progress.advance(min(start + batch, images), images, name)
    role.module.eval()
