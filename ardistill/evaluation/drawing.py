"""Draws images from candidates and from the data, and keeps of them only what is judged and shown.

Shape legend: B batch, N images, L tokens, C code width, Z classes, H W pixels.

Sample i of every candidate shows class i mod n_classes, and its randomness is a function of (seed, stream,
i), so figures do not depend on the batch size or on which other candidates are measured. Images are judged
as they are drawn; beyond the few to be shown, only their features stay in memory.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import attrs
import torch
from torch import Tensor

from ardistill.evaluation.fidelity import Features
from ardistill.evaluation.likelihood import negative_log_likelihood
from ardistill.flow import nearest_code
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, Dataset, Progress, Split

Generate = Callable[[Tensor, Draw], Tensor]
"""(labels (B,), draw) -> latents (B, L, C), ready to decode."""

Standing = Literal["teacher", "baseline", "student"]


@attrs.frozen(eq=False)
class Candidate:
    """Something that draws. At most one is the teacher and one the baseline; gaps lie between the two."""

    name: str
    passes: int
    generate: Generate
    parameters: int | None = None
    standing: Standing = "student"


@attrs.frozen(eq=False)
class Drawn:
    """What is kept of n images: features, class accuracy 0..1, nats per token, and the images to show."""

    features: Features
    accuracy: float
    nll: float
    shown_NCHW: Tensor


@attrs.frozen(eq=False)
class Easel:
    """Everything that stays the same from candidate to candidate.

    To show: `lines` images of each of the first `columns` classes, line by line.
    """

    teacher: ARTeacher
    extract: Callable[[Tensor], Features]
    n: int
    batch: int
    seed: int
    columns: int
    lines: int
    progress: Progress

    def draw(self, stream: str, start: int, count: int) -> Draw:
        return Draw(self.seed, f"eval/{stream}", start, count, self.teacher.tokenizer.codebook.device)

    def labels(self, draw: Draw) -> Tensor:
        return draw.indices() % self.teacher.n_classes

    def images(self, candidate: Candidate, labels_B: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Latents (B, L, C) and the images (B, channels, H, W) they decode to."""
        latents_BLC = candidate.generate(labels_B, draw)
        return latents_BLC, self.teacher.tokenizer.decode(latents_BLC)

    def _batches(self, stream: str) -> Iterator[Draw]:
        for start in range(0, self.n, self.batch):
            draw = self.draw(stream, start, min(self.batch, self.n - start))
            yield draw
            self.progress.advance(start + len(draw), self.n, f"evaluating {stream}")

    def real(self, dataset: Dataset, split: Split) -> tuple[Features, Tensor]:
        """Features of n real images of the split, classes in turn as in the samples, and those to show."""
        features, shown = [], []
        for draw in self._batches(f"real/{split}"):
            images_BCHW, _ = dataset.images(split, draw, self.labels(draw))
            features.append(self.extract(images_BCHW))
            shown.append(images_BCHW[self._is_shown(draw)].cpu())
        return Features.join(features), torch.cat(shown)

    def _is_shown(self, draw: Draw) -> Tensor:
        """(B,) bool: whether the draw's images are among those to show."""
        line_B = draw.indices() // self.teacher.n_classes
        return (line_B < self.lines) & (self.labels(draw) < self.columns)

    def drawn(self, candidate: Candidate, stream: str) -> Drawn:
        """N samples of the candidate from the given stream of randomness."""
        features, labels, nats, shown = [], [], [], []
        for draw in self._batches(stream):
            labels_B = self.labels(draw)
            latents_BLC, images_BCHW = self.images(candidate, labels_B, draw)
            tokens_BL = nearest_code(latents_BLC, self.teacher.tokenizer.codebook)
            features.append(self.extract(images_BCHW))
            labels.append(labels_B.cpu())
            nats.append(negative_log_likelihood(self.teacher, Condition(labels_B), tokens_BL).double().cpu())
            shown.append(images_BCHW[self._is_shown(draw)].cpu())
        joined = Features.join(features)
        right_N = joined.logits_NZ.argmax(1) == torch.cat(labels)
        return Drawn(joined, right_N.double().mean().item(), torch.cat(nats).mean().item(), torch.cat(shown))
