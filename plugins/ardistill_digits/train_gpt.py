"""Training the LlamaGen teacher on tokens of warped digits.

Legend: B batch, N all prepared images, L tokens, V codes.
"""

import copy

import torch.nn.functional as F
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.initialise import initialise
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.transformer import GPT
from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import Condition, Progress
from ardistill_digits.config import GPTRecipe
from ardistill_digits.data import Digits, scans
from ardistill_digits.fitting import fit, transformer_role
from ardistill_digits.train_teacher import tokenized


def gpt_config(recipe: GPTRecipe, tokenizer: LlamaGenTokenizer, n_classes: int) -> GPTConfig:
    """The recipe's sizes for this tokenizer."""
    return GPTConfig(
        dim=recipe.width,
        n_layer=recipe.depth,
        n_head=recipe.heads,
        vocab_size=tokenizer.config.codebook_size,
        block_size=tokenizer.n_tokens,
        num_classes=n_classes,
        multiple_of=recipe.width,
        class_dropout_prob=recipe.class_drop,
        code_width=tokenizer.config.codebook_embed_dim,
    )


def train_gpt(
    recipe: GPTRecipe, data: Digits, tokenizer: LlamaGenTokenizer, seed: int, progress: Progress
) -> GPT:
    """A trained transformer, its weights averaged over training, frozen."""
    model = GPT(gpt_config(recipe, tokenizer, data.n_classes))
    initialise(model, seed=seed)
    average = copy.deepcopy(model).requires_grad_(False)
    n_scans = len(scans("train")[1])
    tokens_NL, labels_N = tokenized(tokenizer, data, recipe.copies * n_scans, seed, progress)

    def loss(draw: Draw) -> Tensor:
        chosen_B = draw.integers("image", len(labels_N))
        tokens_BL = tokens_NL[chosen_B]
        dropped_B = draw.uniform("drop") < recipe.class_drop
        logits_BLV = model(tokens_BL, Condition(labels_N[chosen_B]), dropped_B)
        return F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL.flatten())

    role = transformer_role(model, average, recipe)
    fit(role, loss, name="gpt", images=recipe.images, batch=recipe.batch, seed=seed, progress=progress)
    return average.eval()
