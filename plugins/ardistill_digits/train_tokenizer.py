"""Training the multi-scale tokenizer.

First without the quantizer, then with a codebook made by k-means from the features. Unused codes are moved. At the
end the codes are scaled to unit deviation, so that standard normal noise fits them.

Legend: B batch, b a part of the batch, C code width, H W pixels, h w sides of f_hat, L tokens, l tokens of the first
scales, V codes.
"""

import attrs
import torch
import torch.nn.functional as F
from ardistill_var.config import VARTokenizerConfig
from ardistill_var.quantizer_training import initialise_codebook, restart_codes
from ardistill_var.tokenizer import VARTokenizer
from ardistill_vqgan.quantizer_training import initialise
from torch import Tensor, nn

from ardistill.noise import Draw
from ardistill.protocols import Progress, Role
from ardistill_digits.coding import CodeUse, distance
from ardistill_digits.config import TokenizerRecipe
from ardistill_digits.data import Digits
from ardistill_digits.features import DigitFeatures
from ardistill_digits.fitting import fit


def tokenizer_config(recipe: TokenizerRecipe) -> VARTokenizerConfig:
    """The recipe's sizes, with a phi of its own for every scale."""
    return VARTokenizerConfig(
        patch_nums=recipe.patch_nums,
        vocab=recipe.vocab,
        z_channels=recipe.code_width,
        ch=recipe.ch,
        ch_mult=recipe.ch_mult,
        num_res_blocks=1,
        groups=recipe.groups,
        share_quant_resi=len(recipe.patch_nums),
    )


def train_tokenizer(
    recipe: TokenizerRecipe, data: Digits, network: DigitFeatures, seed: int, progress: Progress
) -> VARTokenizer:
    """A trained tokenizer whose codes have unit deviation, frozen."""
    tokenizer = VARTokenizer(tokenizer_config(recipe))
    initialise(tokenizer, seed=seed)
    loss = TokenizerLoss(tokenizer, recipe, data, network, seed)
    trained = tokenizer if loss.probe is None else nn.ModuleList([tokenizer, loss.probe])
    role = Role(trained, lr=recipe.lr, warmup=3_200, decay=0.0, betas=(0.9, 0.99))
    fit(role, loss, name="tokenizer", images=recipe.images, batch=recipe.batch, seed=seed, progress=progress)
    unit_codes(tokenizer)
    return tokenizer.requires_grad_(False)


@attrs.define(eq=False)
class TokenizerLoss:
    """The loss of one batch; keeps count of the codes in use between batches."""

    tokenizer: VARTokenizer
    recipe: TokenizerRecipe
    data: Digits
    network: DigitFeatures
    seed: int
    use: CodeUse | None = None
    probe: nn.Linear | None = attrs.field(init=False)
    """From the first scale's vectors to classes."""

    def __attrs_post_init__(self) -> None:
        self.probe = None
        if self.recipe.label:
            first = self.tokenizer.step_sizes[0] * self.recipe.code_width
            self.probe = nn.Linear(first, self.data.n_classes)
            initialise(self.probe, seed=self.seed)

    def __call__(self, draw: Draw) -> Tensor:
        images_B3HW, labels_B = self.data.images("train", draw)
        f_BChw = self.tokenizer.features(images_B3HW)
        if draw.start < self.recipe.free_share * self.recipe.images:
            # The small pull towards zero keeps the scale of the features bounded.
            free = self.distance(self.tokenizer.images(f_BChw), images_B3HW) + 1e-4 * f_BChw.square().mean()
            return free + self.label(f_BChw, None, labels_B)
        if self.use is None:
            self.begin_codebook(draw)
            self.use = CodeUse(self.recipe, self.recipe.vocab, self.tokenizer.n_tokens)
        quantized = self.tokenizer.quantize(f_BChw)
        self.mind_codes(self.use, quantized.tokens_BL, f_BChw, draw.start)
        loss = self.distance(self.tokenizer.images(quantized.z_BCHW), images_B3HW) + quantized.loss
        if self.recipe.coarse:
            loss = loss + self.recipe.coarse * self.coarse(images_B3HW, f_BChw, quantized.tokens_BL, draw)
        return loss + self.label(f_BChw, quantized.tokens_BL, labels_B)  # type: ignore[no-any-return]

    def distance(self, made_B3HW: Tensor, images_B3HW: Tensor, *, perceptual: bool = True) -> Tensor:
        return distance(made_B3HW, images_B3HW, self.recipe, self.network if perceptual else None)

    def coarse(self, images_B3HW: Tensor, f_BChw: Tensor, tokens_BL: Tensor, draw: Draw) -> Tensor:
        """The pixel error of a quarter of the batch drawn from its first scales only.

        The gradient reaches the codes and, straight through, the features.
        """
        part = slice(0, max(1, len(tokens_BL) // 4))
        sizes = self.tokenizer.step_sizes
        scales = self.recipe.coarse_scales or 1 + int(draw.integers("coarse", len(sizes) - 1)[0])
        n_given = sum(sizes[:scales])
        codes_blC = self.tokenizer.quantize.embedding(tokens_BL[part, :n_given])
        z_bChw = self.tokenizer.quantize.map(codes_blC) + f_BChw[part] - f_BChw[part].detach()
        return self.distance(self.tokenizer.images(z_bChw), images_B3HW[part], perceptual=False)

    def label(self, f_BChw: Tensor, tokens_BL: Tensor | None, labels_B: Tensor) -> Tensor:
        """The weighted cross-entropy of the classes told from the first scale, or from its codes' vectors-to-be.

        The gradient reaches the codes and, straight through, the features.
        """
        if self.probe is None:
            return f_BChw.new_zeros(())
        quantizer = self.tokenizer.quantize
        first_BnC = quantizer.pyramid.down(f_BChw.flatten(2).transpose(1, 2), 0)
        if tokens_BL is not None:
            codes_BnC = quantizer.embedding(tokens_BL[:, : first_BnC.shape[1]])
            first_BnC = codes_BnC + first_BnC - first_BnC.detach()
        return self.recipe.label * F.cross_entropy(self.probe(first_BnC.flatten(1)), labels_B)

    @torch.no_grad()
    def begin_codebook(self, draw: Draw) -> None:
        """Codes by k-means, every phi the identity."""
        for conv in self.tokenizer.quantize.quant_resi.convs():
            nn.init.dirac_(conv.weight)
            assert conv.bias is not None
            conv.bias.zero_()
        sample = Draw(draw.seed, f"{draw.stream}/codebook", 0, min(2000, self.recipe.images))
        f_BChw = self.tokenizer.features(self.data.images("train", sample)[0])
        initialise_codebook(
            self.tokenizer.quantize, f_BChw, seed=self.seed, by_scale=self.recipe.codes_by_scale
        )

    def mind_codes(self, use: CodeUse, tokens_BL: Tensor, f_BChw: Tensor, start: int) -> None:
        """Counts the codes in use; every so often, moves those that are not."""
        use.count(tokens_BL)
        if use.restart_due(start):
            moved_V = restart_codes(
                self.tokenizer.quantize,
                f_BChw.detach(),
                tokens_BL,
                seed=self.seed + start // self.recipe.batch,
                threshold=use.threshold,
                usage_V=use.usage_V,
            )
            use.moved(moved_V)


@torch.no_grad()
def unit_codes(tokenizer: VARTokenizer) -> float:
    """Divides the codes by their deviation s and the layers around them so that nothing else changes; returns s.

    Exact up to rounding: features, codes and the biases of phi shrink by s, so the same codes stay the nearest and
    f_hat shrinks by s, which `post_quant_conv` undoes.
    """
    scale = float(tokenizer.codebook.std())
    tokenizer.quantize.embedding.weight.div_(scale)
    for conv in (tokenizer.quant_conv, *tokenizer.quantize.quant_resi.convs()):
        assert conv.bias is not None
        conv.bias.div_(scale)
    tokenizer.quant_conv.weight.div_(scale)
    tokenizer.post_quant_conv.weight.mul_(scale)
    return scale
