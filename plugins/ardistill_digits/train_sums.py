"""Training the VAR teacher of pairs of digits.

Single digits are tokenized beforehand; pairs are put together as they are needed, so that none is seen twice.

Legend: B batch, N all prepared digits, R = 2B digits, L tokens of a pair, l of one digit, K steps, C code width,
V codes.
"""

import copy
from collections.abc import Callable

import attrs
import torch
import torch.nn.functional as F
from ardistill_var.initialise import initialise
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR
from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import Progress, Role
from ardistill_digits.data import N_CLASSES, Digits, scans
from ardistill_digits.fitting import fit, transformer_role
from ardistill_digits.sums_config import SumsTeacherRecipe
from ardistill_digits.train_teacher import teacher_config, tokenized

PANELS = 2


def of_pairs(single: VARTokenizer) -> VARTokenizer:
    """The tokenizer of two digits side by side, with the weights of the one of single digits."""
    with torch.device("meta"):
        pairs = VARTokenizer(attrs.evolve(single.config, panels=PANELS))
    pairs.load_state_dict(single.state_dict(), assign=True)
    return pairs.requires_grad_(False)


def of_singles(pairs: VARTokenizer) -> VARTokenizer:
    """The inverse of `of_pairs`."""
    with torch.device("meta"):
        single = VARTokenizer(attrs.evolve(pairs.config, panels=1))
    single.load_state_dict(pairs.state_dict(), assign=True)
    return single.requires_grad_(False)


@attrs.define(eq=False)
class PairLoss:
    """Cross-entropy of pairs' tokens, of the first `n_steps` steps, tokens weighted by their scale."""

    model: VAR
    tokenizer: VARTokenizer
    tokens_Nl: Tensor
    labels_N: Tensor
    recipe: SumsTeacherRecipe
    n_steps: int

    def __call__(self, draw: Draw) -> Tensor:
        tokens_BL, labels_B = self.pairs(draw)
        dropped_B = draw.uniform("drop") < self.recipe.class_drop
        sizes = self.model.sizes[: self.n_steps]
        n_tokens = sum(sizes)
        with torch.no_grad():
            inputs_BLC = self.tokenizer.quantize.inputs(self.tokenizer.codebook[tokens_BL])
        inputs_BLC = inputs_BLC[:, : n_tokens - sizes[0]]
        logits_BLV = self.model(inputs_BLC, labels_B, dropped_B)
        nats_BL = F.cross_entropy(
            logits_BLV.flatten(0, 1), tokens_BL[:, :n_tokens].flatten(), reduction="none"
        ).view(len(labels_B), -1)
        weights_L = self.weights(sizes)
        return (nats_BL * weights_L).mean(0).sum() / weights_L.sum()

    def pairs(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) and labels (B,) of pairs of digits drawn independently."""
        chosen_B2 = draw.integers("digits", len(self.labels_N), PANELS)
        tokens_BL = self.tokenizer.quantize.pyramid.in_order(self.tokens_Nl[chosen_B2.flatten()])
        return tokens_BL, self.labels_N[chosen_B2].sum(1) % N_CLASSES

    def weights(self, sizes: tuple[int, ...]) -> Tensor:
        """(L,) weights of the tokens of the given steps."""
        given = self.recipe.scale_weights
        scales = [max(0, step - PANELS + 1) for step in range(len(sizes))]
        return torch.tensor(
            [
                given[min(scale, len(given) - 1)]
                for scale, size in zip(scales, sizes, strict=True)
                for _ in range(size)
            ]
        )


def train_sums_teacher(
    recipe: SumsTeacherRecipe, tokenizer: VARTokenizer, seed: int, progress: Progress
) -> VAR:
    """A trained transformer, its weights averaged over training, frozen. First it learns the first scale alone."""
    model = VAR(teacher_config(recipe, tokenizer, N_CLASSES))
    initialise(model, seed=seed, gamma=0.3, head=0.3)  # as for single digits
    count = recipe.copies * len(scans("train")[1])
    tokens_Nl, labels_N = tokenized(of_singles(tokenizer), Digits(), count, seed, progress)

    def loss(n_steps: int) -> Callable[[Draw], Tensor]:
        return PairLoss(model, tokenizer, tokens_Nl, labels_N, recipe, n_steps)

    role = Role(model, lr=recipe.prefix_lr, warmup=20 * recipe.prefix_batch, weight_decay=recipe.weight_decay)
    fit(
        role,
        loss(PANELS),
        name="sums/prefix",
        images=recipe.prefix_images,
        batch=recipe.prefix_batch,
        seed=seed,
        progress=progress,
    )
    average = copy.deepcopy(model).requires_grad_(False)
    role = transformer_role(model, average, recipe)
    fit(
        role,
        loss(len(model.sizes)),
        name="sums/teacher",
        images=recipe.images,
        batch=recipe.batch,
        seed=seed,
        progress=progress,
    )
    return average.eval()
