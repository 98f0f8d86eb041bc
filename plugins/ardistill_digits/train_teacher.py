"""Training the VAR teacher on tokens of warped digits.

Legend: B batch, N all prepared images, L tokens, C code width, V codes.
"""

import copy

import torch
import torch.nn.functional as F
from ardistill_var.config import VARConfig
from ardistill_var.initialise import initialise
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR
from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import Progress, Tokenizer
from ardistill_digits.config import TeacherRecipe
from ardistill_digits.data import Digits, scans
from ardistill_digits.fitting import fit, transformer_role

ENCODED_AT_ONCE = 500


def teacher_config(recipe: TeacherRecipe, tokenizer: VARTokenizer, n_classes: int) -> VARConfig:
    """The recipe's sizes for this tokenizer."""
    return VARConfig(
        depth=recipe.depth,
        width=recipe.width,
        heads=recipe.heads,
        patch_nums=tokenizer.config.patch_nums,
        panels=tokenizer.config.panels,
        vocab=tokenizer.config.vocab,
        code_width=tokenizer.config.z_channels,
        num_classes=n_classes,
        class_drop=recipe.class_drop,
    )


def tokenized(
    tokenizer: Tokenizer, data: Digits, count: int, seed: int, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Tokens (N, L) and labels (N,) of `count` warped training digits."""
    tokens, labels = [], []
    for start in range(0, count, ENCODED_AT_ONCE):
        draw = Draw(seed, "pretrain/tokens", start, min(ENCODED_AT_ONCE, count - start))
        images_B3HW, labels_B = data.images("train", draw)
        tokens.append(tokenizer.encode(images_B3HW))
        labels.append(labels_B)
        progress.advance(start + len(draw), count, "tokens")
    return torch.cat(tokens), torch.cat(labels)


def train_teacher(
    recipe: TeacherRecipe, data: Digits, tokenizer: VARTokenizer, seed: int, progress: Progress
) -> VAR:
    """A trained transformer, its weights averaged over training, frozen."""
    model = VAR(teacher_config(recipe, tokenizer, data.n_classes))
    # Gates and head start larger than VAR's, whose training is a thousand times as long.
    initialise(model, seed=seed, gamma=0.3, head=0.3)
    average = copy.deepcopy(model).requires_grad_(False)
    n_scans = len(scans("train")[1])
    tokens_NL, labels_N = tokenized(tokenizer, data, recipe.copies * n_scans, seed, progress)

    def loss(draw: Draw) -> Tensor:
        chosen_B = draw.integers("image", len(labels_N))
        tokens_BL = tokens_NL[chosen_B]
        dropped_B = draw.uniform("drop") < recipe.class_drop
        with torch.no_grad():
            inputs_BLC = tokenizer.quantize.inputs(tokenizer.codebook[tokens_BL])
        logits_BLV = model(inputs_BLC, labels_N[chosen_B], dropped_B)
        return F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL.flatten())

    role = transformer_role(model, average, recipe)
    fit(role, loss, name="teacher", images=recipe.images, batch=recipe.batch, seed=seed, progress=progress)
    return average.eval()
