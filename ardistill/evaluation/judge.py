"""One candidate against what it is judged by: the reference, the held-out images, the protocol that says so."""

from typing import Any

import attrs
import torch

from ardistill.evaluation import fidelity
from ardistill.evaluation.drawing import Candidate, Easel
from ardistill.evaluation.extraction import extractor, network_digest
from ardistill.evaluation.fidelity import Measured
from ardistill.evaluation.histograms import Histograms, Joint
from ardistill.evaluation.metrics import Metrics
from ardistill.evaluation.protocol import Labels, Protocol
from ardistill.evaluation.references.opening import Reference
from ardistill.evaluation.report import Row
from ardistill.evaluation.statistics import Statistics, frechet_between
from ardistill.protocols import ARTeacher, Dataset, FeatureNetwork, Progress

OWN_SIZE = "none: rounded to bytes at their own size"


@attrs.frozen(kw_only=True)
class Rules:
    """How many images, of which classes, in what portions, and what KID is averaged over.

    `ppl` says how path lengths are measured, where they are.
    """

    protocol: str = "digits"
    """What rows call it."""
    n: int
    labels: Labels = "balanced"
    batch: int = 250
    seed: int = 0
    kid_subsets: int = fidelity.KID_SUBSETS
    ppl: str = ""


@attrs.frozen(eq=False)
class Judged:
    """A candidate's row, and what others are compared with; its features are gone."""

    row: Row
    statistics: Statistics
    histograms: Histograms

    def beside(self, teacher: "Judged") -> Row:
        """The row with its distances to the teacher's samples."""
        return attrs.evolve(
            self.row,
            fid_teacher=frechet_between(self.statistics, teacher.statistics),
            tokens_tv=self.histograms.distance(teacher.histograms),
        )


@attrs.frozen(eq=False)
class Judge:
    """What all candidates are held against. Of a set's images only the features are kept, one candidate's at a time."""

    easel: Easel
    reference: Measured
    held_out: Statistics | None
    protocol: Protocol
    kid_subsets: int

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        teacher: ARTeacher,
        dataset: Dataset,
        network: FeatureNetwork,
        rules: Rules,
        reference: Reference | None,
        progress: Progress,
        held_out: Reference | None = None,
        metrics: Metrics | None = None,
    ) -> "Judge":
        """Without references n drawn images of each of the data's splits are they, the training images first."""
        fidelity.check_enough(rules.n, network.n_features, "the images to evaluate")
        extract, joint = extractor(network), Joint.of(teacher)
        metrics = metrics or Metrics()
        easel = Easel(
            teacher, extract, rules.n, rules.labels, rules.batch, rules.seed, progress, joint, metrics
        )
        against = easel.real(dataset, dataset.splits[0]) if reference is None else reference
        tested: Measured | None = held_out
        if held_out is None and "test" in dataset.splits:
            tested = easel.real(dataset, "test")
        return cls(
            easel,
            against,
            None if tested is None else tested.statistics,
            Protocol(
                name=rules.protocol,
                n=rules.n,
                labels=rules.labels,
                seed=rules.seed,
                **_told(reference, dataset, rules.n),
                reference_images=None if against.features_NF is None else len(against.features_NF),
                features=network.name,
                features_digest=network_digest(network),
                guidance=attrs.asdict(teacher.guidance),
                decoder=_precision(teacher),
                kid=_kid(rules),
                neighbours=fidelity.NEIGHBOURS,
                splits=fidelity.SPLITS,
                held_out=None if tested is None else _held_out(held_out, dataset),
                ppl=rules.ppl,
                metrics=metrics.told,
            ),
            rules.kid_subsets,
        )

    def to_held_out(self, statistics: Statistics) -> float | None:
        return None if self.held_out is None else frechet_between(statistics, self.held_out)

    @property
    def floor(self) -> float | None:
        """The FID between held-out and reference images, both real; None where nothing is held out."""
        return self.to_held_out(self.reference.statistics)

    @torch.no_grad()
    def judged(self, candidate: Candidate, stream: str) -> Judged:
        """The candidate's samples of that stream of randomness."""
        drawn = self.easel.drawn(candidate, stream)
        scores = fidelity.compare(drawn.features, self.reference, self.kid_subsets)
        row = Row(
            name=candidate.name,
            passes=candidate.passes,
            protocol=self.protocol,
            parameters=candidate.parameters,
            fid_test=self.to_held_out(drawn.features.statistics),
            accuracy=drawn.accuracy,
            nll=drawn.nll,
            joint_tv=drawn.joint_tv,
            more=drawn.more,
            **attrs.asdict(scores),
        )
        return Judged(row, drawn.features.statistics, drawn.histograms)

    @torch.no_grad()
    def again(self, judged: Judged, candidate: Candidate, stream: str) -> Judged:
        """The same row beside a second, independent draw."""
        drawn = self.easel.drawn(candidate, stream)
        return Judged(judged.row, drawn.features.statistics, drawn.histograms)


def _told(reference: Reference | None, dataset: Dataset, n: int) -> dict[str, Any]:
    """The fields of a protocol that are about the reference."""
    if reference is None:
        return {
            "reference": f"{dataset.name}/{dataset.splits[0]}",
            "reference_sha256": dataset.sha256,
            "reference_n": n,
            "resize": OWN_SIZE,
        }
    return {
        "reference": reference.name,
        "reference_sha256": reference.sha256,
        "reference_n": reference.n,
        "resize": reference.resize or "not told by the file",
    }


def _held_out(held_out: Reference | None, dataset: Dataset) -> str:
    return (
        f"{dataset.name}/test" if held_out is None else f"sha256 {held_out.sha256[:16]}, {held_out.n} images"
    )


def _kid(rules: Rules) -> str:
    return (
        f"{rules.kid_subsets} subsets of {fidelity.KID_SUBSET}, or of all where they are fewer; cubic kernel"
    )


@torch.no_grad()
def _precision(teacher: ARTeacher) -> str:
    """Of the images it decodes; a GPU may be allowed to multiply with fewer bits than their type has."""
    codes_VC = teacher.tokenizer.codebook
    images_BCHW = teacher.tokenizer.decode(codes_VC[:1].expand(teacher.layout.n_tokens, -1)[None])
    coarser = images_BCHW.is_cuda and torch.backends.cudnn.allow_tf32
    told = str(images_BCHW.dtype).removeprefix("torch.")
    return f"{told}, convolutions in TF32" if coarser else told
