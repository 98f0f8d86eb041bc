"""What judges a student, opened before any work: network, reference, distance, or a sentence that says what lacks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from ardistill.assets import asset, located, store
from ardistill.config import EvalConfig, RunConfig
from ardistill.config.judging import PROTOCOLS
from ardistill.config.section import plain
from ardistill.errors import DataError
from ardistill.evaluation.drawing import Candidate
from ardistill.evaluation.fidelity import check_enough
from ardistill.evaluation.judge import Judge, Rules
from ardistill.evaluation.path_length import path_length
from ardistill.evaluation.references.opening import Reference, open_reference
from ardistill.evaluation.references.seeing import extract_with, extractor_name
from ardistill.evaluation.report import Row
from ardistill.launch.parts import Parts
from ardistill.perceptual import Distance, perceptual
from ardistill.protocols import Progress


@attrs.frozen
class Judging:
    """How a student is judged, and the configuration that a report records."""

    name: str
    """What rows of the report call the student."""
    eval: EvalConfig
    seed: int
    config: Mapping[str, Any]

    @classmethod
    def of(cls, config: RunConfig) -> "Judging":
        return cls(config.method.name, config.eval, config.seed, plain(config))

    def rules(self, n: int | None = None) -> Rules:
        """Of the whole evaluation, or of one over `n` images without more than distances."""
        rules, ppl = self.eval.rules, self.eval.ppl
        said = self._said_otherwise()
        told = f"{ppl.n} pairs, epsilon {ppl.epsilon:g}, lerp, {self.net}" if ppl.n and n is None else ""
        return Rules(
            protocol=f"{self.eval.protocol}, but {', '.join(said)}" if said else self.eval.protocol,
            n=n or rules.n,
            labels=rules.labels,
            batch=self.eval.batch,
            seed=self.seed,
            kid_subsets=rules.kid_subsets,
            ppl=told,
        )

    def _said_otherwise(self) -> list[str]:
        """The words that make it another protocol than the preset's; its own reference may be given as a file."""
        preset, rules = PROTOCOLS[self.eval.protocol], self.eval.rules
        said = [
            name
            for name in ("n", "labels", "features", "kid_subsets")
            if getattr(preset, name) != getattr(rules, name)
        ]
        given = self.eval.reference
        if given is not None and not (preset.reference and given.name == asset(preset.reference).file):
            said.append("reference")
        return said

    @property
    def net(self) -> Any:
        """Where path lengths are measured: the protocol's own network is the data's, or VGG16 as published."""
        return self.eval.ppl.net or ("vgg" if self.eval.rules.features else "features")


@attrs.frozen(eq=False)
class Bench:
    """A teacher with everything that judges its students."""

    judging: Judging
    parts: Parts
    reference: Reference | None
    held_out: Reference | None
    distance: Distance | None

    @classmethod
    def of(cls, judging: Judging, parts: Parts, progress: Progress) -> "Bench":
        """Raises DataError or WeightsError where something lacks; nothing is drawn yet."""
        config, rules = judging.eval, judging.eval.rules
        check_enough(rules.n, parts.network.n_features, "eval.n images")
        if config.every:
            check_enough(config.every_n, parts.network.n_features, "eval.every_n images")
        distance = None
        if config.ppl.n:
            distance = perceptual(
                judging.net, config.ppl.weights, parts.network, parts.device, option="eval.ppl"
            )
        path = _reference_path(judging, parts)
        reference = None if path is None else _opened(path, judging, parts, progress)
        aside = parts.dataset.folder("test")
        held_out = None if aside is None else _opened(aside, judging, parts, progress)
        return cls(judging, parts, reference, held_out, distance)

    def judge(self, progress: Progress, n: int | None = None) -> Judge:
        """Takes the features of the data's own images, where those are the reference."""
        parts = self.parts
        return Judge.of(
            parts.teacher,
            parts.dataset,
            parts.network,
            self.judging.rules(n),
            self.reference,
            progress,
            self.held_out,
            None if n else parts.metrics,  # a look at a training student has the distances alone
        )

    def with_path_length(self, candidate: Candidate, row: Row, progress: Progress) -> Row:
        """The row with the path length of a candidate that its noise alone decides, where it is asked for."""
        if self.distance is None or candidate.from_noise is None or candidate.standing != "student":
            return row
        config, teacher, latents = self.judging.eval, self.parts.teacher, candidate.from_noise

        def images(noise_BLC: Tensor, labels_B: Tensor) -> Tensor:
            return teacher.tokenizer.decode(latents(noise_BLC, labels_B))

        found = path_length(
            images,
            (teacher.layout.n_tokens, teacher.tokenizer.codebook.shape[1]),
            teacher.n_classes,
            self.distance,
            n=config.ppl.n,
            batch=config.batch,
            seed=self.judging.seed,
            epsilon=config.ppl.epsilon,
            device=self.parts.device,
            advance=lambda done, total: progress.advance(done, total, f"path length of {candidate.name}"),
        )
        return attrs.evolve(row, ppl=found.mean)


def _reference_path(judging: Judging, parts: Parts) -> Path | None:
    """The file or folder to measure against; None where images drawn from the data are it."""
    config, dataset = judging.eval, parts.dataset
    if config.reference is not None:
        return config.reference
    if config.rules.reference:
        return located(config.rules.reference, None, "eval.reference=PATH")
    if not dataset.splits:
        raise DataError(
            f"data={dataset.name} has no images to measure against; give eval.reference=PATH, a folder of images or a "
            "file of statistics, or eval.protocol=adm"
        )
    return dataset.folder(dataset.splits[0])


def _opened(path: Path, judging: Judging, parts: Parts, progress: Progress) -> Reference:
    config, network = judging.eval, parts.network
    _, height, width = parts.teacher.tokenizer.image_shape
    return open_reference(
        path,
        extract_with(network, parts.device),
        extractor_name(network),
        (height, width),
        n_features=network.n_features,
        skip=config.skip,
        cache=store().parent,
        progress=progress,
    )
