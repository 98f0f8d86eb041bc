"""Training LlamaGen's tokenizer on digits: first without codes, then with a codebook made by k-means.

Legend: B batch, N vectors, C code width, V codes, H W pixels, h w sides of the map, L tokens.
"""

import attrs
import torch
import torch.nn.functional as F
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_vqgan.quantizer_training import initialise, kmeans, restart_dead_codes
from torch import Tensor

from ardistill.noise import Draw
from ardistill.protocols import Progress, Role
from ardistill_digits.coding import CodeUse, distance
from ardistill_digits.config import VQRecipe
from ardistill_digits.data import SIDE, Digits
from ardistill_digits.features import DigitFeatures
from ardistill_digits.fitting import fit


def vq_config(recipe: VQRecipe) -> LlamaGenTokenizerConfig:
    """The recipe's sizes."""
    return LlamaGenTokenizerConfig(
        codebook_size=recipe.codebook_size,
        codebook_embed_dim=recipe.code_width,
        z_channels=recipe.z_channels,
        ch=recipe.ch,
        ch_mult=recipe.ch_mult,
        num_res_blocks=1,
        groups=recipe.groups,
        image_size=SIDE,
    )


def train_vq(
    recipe: VQRecipe, data: Digits, network: DigitFeatures, seed: int, progress: Progress
) -> LlamaGenTokenizer:
    """A trained tokenizer, frozen."""
    tokenizer = LlamaGenTokenizer(vq_config(recipe))
    initialise(tokenizer, seed=seed)
    role = Role(tokenizer, lr=recipe.lr, warmup=3_200, decay=0.0, betas=(0.9, 0.99))
    loss = VQLoss(tokenizer, recipe, data, network, seed)
    fit(role, loss, name="vq", images=recipe.images, batch=recipe.batch, seed=seed, progress=progress)
    return tokenizer.requires_grad_(False)


@attrs.define(eq=False)
class VQLoss:
    """The loss of one batch; keeps count of the codes in use between batches."""

    tokenizer: LlamaGenTokenizer
    recipe: VQRecipe
    data: Digits
    network: DigitFeatures
    seed: int
    use: CodeUse | None = None

    def __call__(self, draw: Draw) -> Tensor:
        images_B3HW, _ = self.data.images("train", draw)
        z_BChw = self.tokenizer.features(images_B3HW)
        if draw.start < self.recipe.free_share * self.recipe.images:
            made_B3HW = self.tokenizer.images(F.normalize(z_BChw, dim=1))
            return distance(made_B3HW, images_B3HW, self.recipe, self.network)
        if self.use is None:
            self.begin_codebook(draw)
            self.use = CodeUse(self.recipe, self.recipe.codebook_size, self.tokenizer.n_tokens)
        if self.use.restart_due(draw.start):  # before the codes enter this batch's graph
            self.restart(self.use, z_BChw, self.seed + draw.start // self.recipe.batch)
        quantized = self.tokenizer.quantize(z_BChw)
        self.use.count(quantized.tokens_BL)
        made_B3HW = self.tokenizer.images(quantized.z_BCHW)
        loss: Tensor = distance(made_B3HW, images_B3HW, self.recipe, self.network) + quantized.loss
        return loss

    @torch.no_grad()
    def begin_codebook(self, draw: Draw) -> None:
        """Codes by k-means over features of length 1."""
        sample = Draw(draw.seed, f"{draw.stream}/codebook", 0, min(1000, self.recipe.images))
        z_BChw = self.tokenizer.features(self.data.images("train", sample)[0])
        codes_VC = kmeans(_units(z_BChw), self.recipe.codebook_size, seed=self.seed)
        self.tokenizer.quantize.embedding.weight.copy_(F.normalize(codes_VC, dim=1))

    def restart(self, use: CodeUse, z_BChw: Tensor, seed: int) -> None:
        """Moves codes that nobody uses onto features of the batch."""
        codes_VC = self.tokenizer.quantize.embedding.weight
        use.moved(
            restart_dead_codes(codes_VC, use.usage_V, _units(z_BChw), seed=seed, threshold=use.threshold)
        )


def _units(z_BChw: Tensor) -> Tensor:
    """(B, C, h, w) -> (N, C) of length 1."""
    return F.normalize(z_BChw.detach().permute(0, 2, 3, 1).flatten(0, 2), dim=1)
