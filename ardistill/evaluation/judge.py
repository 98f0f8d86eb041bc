"""One candidate against what it is judged by: the reference, the held-out images, the protocol that says so."""

from typing import Any

import attrs
import torch

from ardistill.evaluation import fidelity
from ardistill.evaluation.drawing import Candidate, Easel
from ardistill.evaluation.extraction import extractor, network_digest
from ardistill.evaluation.fidelity import Measured
from ardistill.evaluation.histograms import Histograms, Joint
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
    ) -> "Judge":
        """Without a reference n training images of the data are it (ImageNet's practice), taken now."""
        fidelity.check_enough(rules.n, network.n_features, "the images to evaluate")
        extract, joint = extractor(network), Joint.of(teacher)
        easel = Easel(teacher, extract, rules.n, rules.labels, rules.batch, rules.seed, progress, joint)
        return cls(
            easel,
            easel.real(dataset, dataset.splits[0]) if reference is None else reference,
            easel.real(dataset, "test").statistics if "test" in dataset.splits else None,
            _protocol(rules, teacher, dataset, network, reference),
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
            **attrs.asdict(scores),
        )
        return Judged(row, drawn.features.statistics, drawn.histograms)

    @torch.no_grad()
    def again(self, judged: Judged, candidate: Candidate, stream: str) -> Judged:
        """The same row beside a second, independent draw."""
        drawn = self.easel.drawn(candidate, stream)
        return Judged(judged.row, drawn.features.statistics, drawn.histograms)


def _protocol(
    rules: Rules, teacher: ARTeacher, dataset: Dataset, network: FeatureNetwork, reference: Reference | None
) -> Protocol:
    told: dict[str, Any]
    if reference is None:
        told = {
            "reference": f"{dataset.name}/{dataset.splits[0]}",
            "reference_sha256": dataset.sha256,
            "reference_n": rules.n,
            "resize": OWN_SIZE,
        }
    else:
        told = {
            "reference": reference.name,
            "reference_sha256": reference.sha256,
            "reference_n": reference.n,
            "resize": reference.resize or "not told by the file",
        }
    return Protocol(
        name=rules.protocol,
        n=rules.n,
        labels=rules.labels,
        seed=rules.seed,
        features=network.name,
        features_digest=network_digest(network),
        guidance=attrs.asdict(teacher.guidance),
        decoder=str(teacher.tokenizer.codebook.dtype).removeprefix("torch."),
        kid=f"{rules.kid_subsets} subsets of {fidelity.KID_SUBSET} at most, cubic kernel",
        neighbours=fidelity.NEIGHBOURS,
        splits=fidelity.SPLITS,
        held_out=f"{dataset.name}/test" if "test" in dataset.splits else None,
        ppl=rules.ppl,
        **told,
    )
