"""How often tokens occur, against the teacher: no network and no weights are needed for these distances.

Shape legend: B batch, L tokens, K steps, V codes, Y classes, S sequences.
"""

from typing import Self

import attrs
import torch
from torch import Tensor

from ardistill.protocols import ARTeacher, Condition

MOST_SEQUENCES = 1 << 16
"""Up to this many, over all classes, a joint distribution is written down: one pass of the teacher over them all."""
_BATCH = 4096


@attrs.frozen(eq=False)
class Histograms:
    """Counts of tokens in each step, over all samples and classes."""

    counts_KV: Tensor
    _cells_L: Tensor

    @classmethod
    def empty(cls, teacher: ARTeacher) -> Self:
        device, n_codes = teacher.tokenizer.codebook.device, len(teacher.tokenizer.codebook)
        counts_KV = torch.zeros(teacher.layout.n_steps, n_codes, dtype=torch.int64, device=device)
        return cls(counts_KV, teacher.layout.step_of_token().to(device) * n_codes)

    def add(self, tokens_BL: Tensor) -> None:
        cells_n = (tokens_BL + self._cells_L).flatten()
        self.counts_KV.view(-1).add_(torch.bincount(cells_n, minlength=self.counts_KV.numel()))

    def distance(self, other: "Histograms") -> float:
        """Total variation of the two histograms of a step, averaged over the steps; 0..1.

        Two finite samples of one distribution are apart too: the teacher's own row tells by how much.
        """
        ours, theirs = (
            each.counts_KV.double() / each.counts_KV.sum(1, keepdim=True) for each in (self, other)
        )
        return 0.5 * (ours - theirs).abs().sum(1).mean().item()


@attrs.frozen(eq=False)
class Joint:
    """The teacher's distribution over whole sequences, where they can be listed (the exact lab)."""

    log_p_YS: Tensor
    n_codes: int

    @classmethod
    @torch.no_grad()
    def of(cls, teacher: ARTeacher) -> Self | None:
        """None where there are more than `MOST_SEQUENCES`."""
        codes_VC = teacher.tokenizer.codebook
        n_codes, length = len(codes_VC), teacher.layout.n_tokens
        if teacher.n_classes * n_codes**length > MOST_SEQUENCES:
            return None
        every_S = torch.arange(n_codes**length, device=codes_VC.device)
        place_L = n_codes ** torch.arange(length - 1, -1, -1, device=codes_VC.device)
        tokens_SL = every_S[:, None] // place_L % n_codes
        rows = []
        for label in range(teacher.n_classes):
            parts = []
            for tokens_BL in torch.split(tokens_SL, _BATCH):
                labels_B = torch.full((len(tokens_BL),), label, device=codes_VC.device)
                log_p_BLV = teacher.log_probs(Condition(labels_B), codes_VC[tokens_BL])
                log_p_BL = log_p_BLV.gather(-1, tokens_BL[..., None]).squeeze(-1)
                parts.append(log_p_BL.double().sum(1).cpu())
            rows.append(torch.cat(parts))
        return cls(torch.stack(rows), n_codes)

    def distance(self, tokens_NL: Tensor, labels_N: Tensor) -> float:
        """Half the L1 distance between the samples' histogram and the joint, averaged over the classes drawn; 0..1."""
        place_L = self.n_codes ** torch.arange(tokens_NL.shape[1] - 1, -1, -1)
        index_N = (tokens_NL * place_L).sum(1)
        distances = []
        for label, log_p_S in enumerate(self.log_p_YS):
            counts_S = torch.bincount(index_N[labels_N == label], minlength=len(log_p_S)).double()
            if counts_S.any():
                distances.append(0.5 * (counts_S / counts_S.sum() - log_p_S.exp()).abs().sum())
        return torch.stack(distances).mean().item()
