"""The plain training loop of the recipe: one role, one loss, everything drawn from (seed, name, image)."""

from collections.abc import Callable

from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import Progress, Role
from ardistill.training.optimise import Optimiser

Loss = Callable[[Draw], Tensor]


def fit(role: Role, loss: Loss, *, name: str, images: int, batch: int, seed: int, progress: Progress) -> None:
    """Minimises `loss(draw)` over `images` images in batches of `batch`; trains `role.module` in place."""
    optimiser = Optimiser(role)
    role.module.train()
    for start in range(0, images, batch):
        loss(Draw(seed, f"pretrain/{name}", start, batch)).backward()  # type: ignore[no-untyped-call]
        optimiser.step(start, images)
        progress.advance(min(start + batch, images), images, name)
    role.module.eval()
