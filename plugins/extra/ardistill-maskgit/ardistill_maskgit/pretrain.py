"""`ardistill pretrain maskgit`: trains the teacher on the tokens of warped digits.

Legend: B batch, N all prepared images, L tokens, V codes.
"""

import copy
from pathlib import Path

import attrs
import torch.nn.functional as F
from ardistill_digits.data import Digits, scans
from ardistill_digits.fitting import fit, transformer_role
from ardistill_digits.train_teacher import tokenized
from ardistill_llamagen.settings import LlamaGenTokenizerSettings
from ardistill_llamagen.tokenizer_loading import load_tokenizer
from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import Guidance, Progress, StepLayout, Tokenizer
from ardistill.weights import write_weights
from ardistill_maskgit.config import MaskGITConfig
from ardistill_maskgit.loading import FILE, KIND
from ardistill_maskgit.masking import known_tokens
from ardistill_maskgit.order import spread_order, step_sizes
from ardistill_maskgit.ordered import OrderedTokenizer
from ardistill_maskgit.recipe import MaskGITRecipe
from ardistill_maskgit.transformer import MaskGIT, initialised


def pretrain(recipe: MaskGITRecipe, out: Path, progress: Progress) -> None:
    """Writes the trained teacher into `out`. Repeatable from the seed."""
    data = Digits()
    inner = load_tokenizer(LlamaGenTokenizerSettings(), data.weights)
    tokenizer = OrderedTokenizer(inner, spread_order(inner.config.side))
    model = train(recipe, data, tokenizer, progress)
    guidance = Guidance(recipe.cfg, top_p=recipe.top_p, temperature=recipe.temperature)
    about = {
        "kind": KIND,
        "config": attrs.asdict(model.config),
        "steps": recipe.steps,
        "guidance": attrs.asdict(guidance),
        "made_by": {"recipe": "maskgit", **attrs.asdict(recipe)},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_weights(out / FILE, model.state_dict(), about)


def train(recipe: MaskGITRecipe, data: Digits, tokenizer: OrderedTokenizer, progress: Progress) -> MaskGIT:
    """A trained network, its weights averaged over training."""
    ordered: Tokenizer = tokenizer
    codes_VC = ordered.codebook
    config = MaskGITConfig(
        order=tuple(tokenizer.order_L.tolist()),
        width=recipe.width,
        depth=recipe.depth,
        heads=recipe.heads,
        vocab=codes_VC.shape[0],
        code_width=codes_VC.shape[1],
        n_classes=data.n_classes,
    )
    layout = StepLayout(step_sizes(config.n_tokens, recipe.steps))
    model = initialised(config, codes_VC, recipe.seed)
    average = copy.deepcopy(model).requires_grad_(False)
    n_scans = len(scans("train")[1])
    tokens_NL, labels_N = tokenized(ordered, data, recipe.copies * n_scans, recipe.seed, progress)

    def loss(draw: Draw) -> Tensor:
        chosen_B = draw.integers("image", len(labels_N))
        tokens_BL, labels_B = tokens_NL[chosen_B], labels_N[chosen_B]
        labels_B = labels_B.masked_fill(draw.uniform("drop") < recipe.class_drop, config.n_classes)
        known_BL = known_tokens(draw, layout, recipe.random)
        logits_BLV = model(codes_VC[tokens_BL], known_BL, labels_B)
        return masked_cross_entropy(logits_BLV, tokens_BL, known_BL)

    role = transformer_role(model, average, recipe)
    fit(
        role,
        loss,
        name="maskgit",
        images=recipe.images,
        batch=recipe.batch,
        seed=recipe.seed,
        progress=progress,
    )
    return average.eval()


def masked_cross_entropy(logits_BLV: Tensor, tokens_BL: Tensor, known_BL: Tensor) -> Tensor:
    """Nats a masked token; images count alike, however many of their tokens are masked."""
    nats_BL = F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL.flatten(), reduction="none").view_as(
        tokens_BL
    )
    masked_BL = ~known_BL
    return ((nats_BL * masked_BL).sum(1) / masked_BL.sum(1)).mean()
