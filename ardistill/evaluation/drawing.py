"""Draws images from candidates and from the data, and keeps of them only what is judged.

Shape legend: B batch, N images, K steps, V codes, L tokens, C code width, Z classes, H W pixels.

An image's class and randomness are a function of (seed, stream, i), so figures do not depend on the batch size or on
which other candidates are measured. Images are judged as they are drawn; only their features stay in memory. Real
images do not depend on the seed: they are the same for every run.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor

from ardistill.evaluation.extraction import Features
from ardistill.evaluation.histograms import Histograms, Joint
from ardistill.evaluation.likelihood import negative_log_likelihood
from ardistill.evaluation.metrics import Metrics
from ardistill.evaluation.protocol import Labels
from ardistill.flow import nearest_code
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, Dataset, Progress, Split

Generate = Callable[[Tensor, Draw], Tensor]
"""(labels (B,), draw) -> latents (B, L, C), ready to decode."""

FromNoise = Callable[[Tensor, Tensor], Tensor]
"""(noise (B, L, C), labels (B,)) -> latents (B, L, C), with no other randomness."""

Standing = Literal["teacher", "baseline", "student"]

REAL_SEED = 0


@attrs.frozen(eq=False)
class Candidate:
    """Something that draws. At most one is the teacher and one the baseline; gaps lie between the two.

    `from_noise` is there where its noise alone decides what it draws; a path length is measured then.
    """

    name: str
    passes: int
    generate: Generate
    parameters: int | None = None
    standing: Standing = "student"
    from_noise: FromNoise | None = None


@attrs.frozen(eq=False)
class Drawn:
    """What is kept of N images: features, class accuracy 0..1, nats per token, and how often each token occurs.

    `accuracy` is None where the feature network does not tell the data's classes, `joint_tv` where the teacher's joint
    distribution can't be written down.
    """

    features: Features
    accuracy: float | None
    nll: float
    histograms: Histograms
    joint_tv: float | None
    more: Mapping[str, float]
    """What metrics of plugins found, by name."""


@attrs.frozen(eq=False)
class Easel:
    """Everything that stays the same from candidate to candidate."""

    teacher: ARTeacher
    extract: Callable[[Tensor], Features]
    n: int
    labels: Labels
    batch: int
    seed: int
    progress: Progress
    joint: Joint | None = None
    metrics: Metrics = attrs.field(factory=Metrics)

    def draw(self, stream: str, start: int, count: int, seed: int | None = None) -> Draw:
        device = self.teacher.tokenizer.codebook.device
        return Draw(self.seed if seed is None else seed, f"eval/{stream}", start, count, device)

    def labels_of(self, draw: Draw) -> Tensor:
        """(B,) int64: the classes of the draw's images."""
        if self.labels == "random":
            return draw.integers("label", self.teacher.n_classes)
        return draw.indices() % self.teacher.n_classes

    def images(self, candidate: Candidate, labels_B: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Latents (B, L, C) and the images (B, channels, H, W) they decode to."""
        latents_BLC = candidate.generate(labels_B, draw)
        return latents_BLC, self.teacher.tokenizer.decode(latents_BLC)

    def _batches(self, stream: str, seed: int | None = None) -> Iterator[Draw]:
        for start in range(0, self.n, self.batch):
            draw = self.draw(stream, start, min(self.batch, self.n - start), seed)
            yield draw
            self.progress.advance(start + len(draw), self.n, f"evaluating {stream}")

    def real(self, dataset: Dataset, split: Split) -> Features:
        """Features of n real images of the split; their classes are in the samples' proportions."""

        def parts() -> Iterator[Features]:
            for draw in self._batches(f"real/{split}", REAL_SEED):
                labels_B = self.labels_of(draw) if self.labels == "balanced" else None
                images_BCHW, _ = dataset.images(split, draw, labels_B)
                yield self.extract(images_BCHW)

        return Features.join(parts(), self.n)

    def drawn(self, candidate: Candidate, stream: str) -> Drawn:
        """N samples of the candidate from the given stream of randomness."""
        teacher = self.teacher
        histograms = Histograms.empty(teacher)
        labels, nats, tokens = [], [], []
        further = self.metrics.begin()

        def parts() -> Iterator[Features]:
            for draw in self._batches(stream):
                labels_B = self.labels_of(draw)
                latents_BLC, images_BCHW = self.images(candidate, labels_B, draw)
                tokens_BL = nearest_code(latents_BLC, teacher.tokenizer.codebook)
                nats_B = negative_log_likelihood(teacher, Condition(labels_B), tokens_BL)
                histograms.add(tokens_BL)
                labels.append(labels_B.cpu())
                nats.append(nats_B.double().cpu())
                if self.joint is not None:
                    tokens.append(tokens_BL.cpu())
                seen = self.extract(images_BCHW)
                further.update(images_BCHW, labels_B, seen.features_NF)
                yield seen

        features = Features.join(parts(), self.n)
        labels_N = torch.cat(labels)
        accuracy = None
        if features.logits_NZ.shape[1] == teacher.n_classes:
            accuracy = (features.logits_NZ.argmax(1) == labels_N).double().mean().item()
        joint_tv = None if self.joint is None else self.joint.distance(torch.cat(tokens), labels_N)
        nll = torch.cat(nats).mean().item()
        return Drawn(features, accuracy, nll, histograms, joint_tv, further.results())
