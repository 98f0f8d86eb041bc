"""The teacher samples on which the AR-diffusion model is tuned, drawn once and kept in the run folder.

Shape legend: B batch, L tokens, C code width, n samples.
"""

from pathlib import Path

import attrs
import torch
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.noise import Draw as ImageDraw
from ardistill.protocols import ARTeacher, Condition, Draw, Progress
from ardistill.sampling import teacher_tokens
from ardistill.weights import read_weights, write_weights

_BATCH = 500


def ancestral(
    settings: None, teacher: ARTeacher, condition: Condition, noise_BLC: Tensor, draw: Draw
) -> Tensor:
    """(B, L) int64 tokens as the teacher's own sampler draws them; the noise plays no part."""
    del settings, noise_BLC
    return teacher_tokens(teacher, condition, draw.uniform("token", teacher.layout.n_tokens))


@attrs.frozen(eq=False)
class TuningSet:
    """n teacher samples: tokens (n, L) int32 and labels (n,) int64."""

    tokens_nL: Tensor
    labels_n: Tensor

    @classmethod
    def collect(cls, teacher: ARTeacher, n: int, seed: int, path: Path, progress: Progress) -> "TuningSet":
        """Reads `path` where it holds n samples already; draws and writes them otherwise."""
        about = {"kind": "tuning", "n": n, "seed": seed}
        if path.exists():
            try:
                stored = read_weights(path)
            except WeightsError:  # a damaged file is drawn anew, and comes out the same
                stored = None
            if stored is not None and stored.about == about:
                return cls(stored.tensors["tokens"], stored.tensors["labels"])
        tokens, labels = [], []
        for start in range(0, n, _BATCH):
            draw = ImageDraw(seed, "tuning", start, min(_BATCH, n - start), teacher.tokenizer.codebook.device)
            labels_B = draw.integers("label", teacher.n_classes)
            noise_BLC = torch.empty(0, device=labels_B.device)
            tokens.append(
                ancestral(None, teacher, Condition(labels_B), noise_BLC, draw).to("cpu", torch.int32)
            )
            labels.append(labels_B.cpu())
            progress.advance(start + len(draw), n, "teacher samples")
        made = cls(torch.cat(tokens), torch.cat(labels))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_weights(path, {"tokens": made.tokens_nL, "labels": made.labels_n}, about)
        return made

    def batch(self, draw: Draw, device: torch.device) -> tuple[Tensor, Condition]:
        """Samples picked by the draw: tokens (B, L) int64 and their condition."""
        picks_B = draw.integers("pick", self.labels_n.shape[0]).cpu()
        return self.tokens_nL[picks_B].to(device, torch.int64), Condition(self.labels_n[picks_B].to(device))
