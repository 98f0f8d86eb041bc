"""A small teacher in closed form, with which plugins can be tried in milliseconds: tables over a random codebook.

A token's distribution is a row of a table, chosen by the class, the position, and a checksum of the tokens of earlier
steps. Any layout, any number of codes and classes; both alignments.

Shape legend: B batch, L tokens, l tokens of one step or of a prefix, V codes, C code width, Y classes, H checksums.
"""

from typing import Self

import attrs
import torch
from torch import Tensor

from ardistill.flow import nearest_code
from ardistill.protocols import Condition, Guidance, Jumps, StepLayout
from ardistill.sampling import top_k
from ardistill.testing.toy_networks import OFFER, ToyJumper, ToySizes, ToyTrunk, rebuild

__all__ = [
    "OFFER",
    "ToyCursor",
    "ToyJumper",
    "ToyTeacher",
    "ToyTokenizer",
    "ToyTrunk",
    "rebuild",
    "toy_teacher",
]

_CHECKSUMS = 5
_HEADROOM = 4.0
"""The largest coordinate that survives the clamp."""


@attrs.define(eq=False)
class ToyTokenizer:
    """Latents / 4 as an image of one row: one pixel a token, one channel a coordinate."""

    codebook: Tensor
    n_tokens: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.codebook.shape[1], 1, self.n_tokens

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """(B, C, 1, L) -> (B, L): the nearest codes."""
        return nearest_code(images_BCHW.squeeze(2).transpose(1, 2) * _HEADROOM, self.codebook)

    def decode(self, latents_BLC: Tensor) -> Tensor:
        """(B, L, C) -> (B, C, 1, L), one to one where no coordinate exceeds 4."""
        return (latents_BLC / _HEADROOM).clamp(-1, 1).transpose(1, 2).unsqueeze(2)

    def to(self, device: torch.device | str) -> Self:
        self.codebook = self.codebook.to(device)
        return self


class ToyCursor:
    """The tables in the middle of emitting a batch."""

    def __init__(self, teacher: "ToyTeacher", labels_B: Tensor, prefix_tokens_Bl: Tensor) -> None:
        self._teacher, self._labels_B, self._tokens_Bl = teacher, labels_B, prefix_tokens_Bl
        offsets = [teacher.layout.offset(step) for step in range(teacher.layout.n_steps + 1)]
        if prefix_tokens_Bl.shape[1] not in offsets:
            raise ValueError(
                f"a prefix of {prefix_tokens_Bl.shape[1]} tokens ends no step; steps end at {offsets}"
            )
        self._step = offsets.index(prefix_tokens_Bl.shape[1])

    @property
    def step(self) -> int:
        return self._step

    def log_probs(self) -> Tensor:
        """(B, l, V) of the next step."""
        return self._teacher.rows(self._labels_B, self._tokens_Bl, self._step)

    def accept(self, tokens_Bl: Tensor) -> None:
        self._tokens_Bl = torch.cat([self._tokens_Bl, tokens_Bl], dim=1)
        self._step += 1


class ToyTeacher:
    """An `ARTeacher` of tables (Y, L, H, V); make one by `toy_teacher`. Latents count as the codes nearest to them."""

    def __init__(self, layout: StepLayout, codes_VC: Tensor, logits_YLHV: Tensor, guidance: Guidance) -> None:
        self.layout, self.guidance = layout, guidance
        self.tokenizer = ToyTokenizer(codes_VC, layout.n_tokens)
        self.n_classes = logits_YLHV.shape[0]
        if guidance.top_k:
            logits_YLHV = top_k(logits_YLHV, guidance.top_k)
        self.table_YLHV = logits_YLHV.log_softmax(-1)

    @property
    def constants(self) -> dict[str, object]:
        """The table itself, which is no weight."""
        return {"table": self.table_YLHV.exp().flatten().tolist()}

    def rows(self, labels_B: Tensor, tokens_Bl: Tensor, step: int) -> Tensor:
        """(B, l, V): the step's distributions after the tokens of the steps before."""
        weights_l = torch.arange(1, self.layout.offset(step) + 1, device=tokens_Bl.device)
        checksum_B = (tokens_Bl[:, : len(weights_l)] * weights_l).sum(1) % _CHECKSUMS
        return self.table_YLHV[labels_B, self.layout.span(step)][torch.arange(len(labels_B)), :, checksum_B]

    def start(self, condition: Condition, prefix_tokens_Bl: Tensor | None = None) -> ToyCursor:
        labels_B = condition.require_labels()
        if prefix_tokens_Bl is None:
            prefix_tokens_Bl = labels_B.new_zeros(len(labels_B), 0)
        return ToyCursor(self, labels_B, prefix_tokens_Bl)

    def log_probs(self, condition: Condition, latents_BLC: Tensor) -> Tensor:
        """(B, L, V)."""
        labels_B, tokens_BL = condition.require_labels(), nearest_code(latents_BLC, self.tokenizer.codebook)
        return torch.cat([self.rows(labels_B, tokens_BL, step) for step in range(self.layout.n_steps)], dim=1)

    @property
    def sizes(self) -> ToySizes:
        """What its networks are made for."""
        n_codes, width = self.tokenizer.codebook.shape
        return ToySizes(self.layout.sizes, n_codes, width, self.n_classes)

    def trunk(self) -> ToyTrunk:
        return ToyTrunk(self.sizes, seed=0).to(self.tokenizer.codebook.device)

    def jumper(self, jumps: Jumps, seed: int) -> ToyJumper:
        return ToyJumper(self.sizes, jumps, seed).to(self.tokenizer.codebook.device)

    def to(self, device: torch.device | str) -> Self:
        self.table_YLHV = self.table_YLHV.to(device)
        self.tokenizer.to(device)
        return self


def toy_teacher(
    sizes: tuple[int, ...] = (1, 2, 3),
    *,
    n_codes: int = 6,
    code_width: int = 3,
    n_classes: int = 3,
    top_k: int = 0,
    sharpness: float = 2.0,
    seed: int = 0,
) -> ToyTeacher:
    """A teacher whose steps emit `sizes` tokens. `sharpness` is the deviation of its tables' logits."""
    layout, generator = StepLayout(sizes), torch.Generator().manual_seed(seed)
    codes_VC = torch.randn(n_codes, code_width, generator=generator)
    shape = (n_classes, layout.n_tokens, _CHECKSUMS, n_codes)
    logits_YLHV = sharpness * torch.randn(shape, generator=generator)
    return ToyTeacher(layout, codes_VC, logits_YLHV, Guidance(top_k=top_k))
