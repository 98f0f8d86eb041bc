"""How far a method's student is from teachers whose joint distribution is known.

    python benchmarks/exact.py method=dd1
    python benchmarks/exact.py method=dd2
    python benchmarks/exact.py method=dd2 teacher=sparse seed=1 method.score_form=sid out=exact.json

Prints, for each teacher, the distance of the student in one pass and in as many as it has learned, of the teacher's
own samples (the sampling floor) and of tokens drawn independently (the baseline), and exits with 1 where a student
misses its bound: in one pass that of `BOUNDS`, in more passes the (coarse) total variation in one less. Each teacher
has a process of one thread to itself, so both together take two cores; `PRESETS` holds the settings they start from.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from ardistill_exact.metrics import coarse_total_variation, energy_distance, total_variation
from ardistill_exact.teacher import ExactTeacher
from torch import Tensor

from ardistill.cli.terminal import print_table
from ardistill.config import Section, section_of, structure_words
from ardistill.config.section import plain
from ardistill.errors import ArdistillError
from ardistill.evaluation.report import hardware, versions
from ardistill.files import json_text, write_atomic
from ardistill.noise import Draw
from ardistill.plugins import discover
from ardistill.protocols import Condition, DistillMethod, RunContext, Schedule
from ardistill.sampling import generate
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer

_DD2 = (
    "method.head.width=64",
    "method.head.unit_codes=false",
    "method.tune_head_images=0",
    "method.tune_batch=128",
    "method.tune_images=64000",
    "method.tune_lr=2e-3",
    "method.batch=64",
    "method.csd_ratio=1",
    "method.score_form=dmd",
    "method.betas=0,0.99",
    "method.guidance_images=3840",
    "method.warmup_images=4000",
    "method.ema_cap=0.998",
)
_DD2_SPARSE = (
    *_DD2,
    "method.csd_images=256000",
    "method.guidance_lr=4e-3",
    "method.t_min=0.2",
    "method.t_max=0.95",
)
_DD2_DENSE = (
    *_DD2,
    "method.csd_images=128000",
    "method.guidance_lr=2e-3",
    "method.t_min=0.02",
    "method.t_max=0.98",
)

_DD1 = (
    "method.lpips.weight=0",
    "method.starts=0,2",
    "method.from_noise=0.8",
    "method.batch=256",
    "method.weight_decay=0",
)
_DD1_SPARSE = (*_DD1, "method.n_pairs=256000", "method.images=1024000", "method.lr=6e-3")
_DD1_DENSE = (*_DD1, "method.n_pairs=128000", "method.images=256000", "method.lr=4e-3")

PRESETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "dd1": {"sparse": _DD1_SPARSE, "dense": _DD1_DENSE},
    "dd2": {"sparse": _DD2_SPARSE, "dense": _DD2_DENSE},
}
"""Words for a method on a teacher; words on the command line win over them."""


@attrs.frozen
class Bound:
    """What one pass may be away: a distance, or a share of the baseline's."""

    distance: float = float("inf")
    share: float = float("inf")

    def of(self, baseline: float) -> float:
        return min(self.distance, self.share * baseline)


BOUNDS: Mapping[str, Mapping[str, Bound]] = {
    "dd1": {"total variation": Bound(distance=0.12), "energy distance": Bound(share=0.1)},
    "dd2": {"total variation": Bound(share=0.6), "energy distance": Bound(share=0.2)},
}
"""By method and measure; other figures are shown and not judged."""

BETTERED = ("total variation", "coarse total variation")
"""What another pass has to better; the energy distance of one pass may lie at the floor already."""

_CELL_EDGES = torch.tensor([-0.9, 0.0, 0.9])
_SAMPLES = {"sparse": 100_000, "dense": 8_000}
_CHUNK = 10_000


@attrs.frozen(kw_only=True)
class Benchmark:
    method: Section = attrs.field(metadata=section_of("method", default="dd2"))
    teacher: Literal["sparse", "dense", "both"] = "both"
    seed: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    out: Path | None = None
    """A JSON file for the figures, with hardware, versions and configuration."""


@attrs.frozen(kw_only=True)
class _TeacherChoice:
    teacher: Section = attrs.field(metadata=section_of("teacher"))


@attrs.frozen
class Figure:
    """One distance: the student's, the sampling floor, the independent baseline's, and the bound if there is one."""

    teacher: str
    measure: str
    passes: int
    student: float
    floor: float
    baseline: float
    bound: float | None
    seconds: float
    """Wall time from the teacher's making to the trained student."""
    cpu_seconds: float
    """The same in processor time, which a busy machine does not stretch."""

    @property
    def missed(self) -> bool:
        if self.bound is None:
            return False
        return not (self.student <= self.bound if self.passes == 1 else self.student < self.bound)


class _Silent:
    def advance(self, done: int, total: int, what: str) -> None:
        """Two processes at once have no common progress to show."""


def configured(words: Sequence[str], teacher: str) -> Benchmark:
    """The benchmark that the words describe, the presets for this teacher beneath them."""
    given = {word.partition("=")[0] for word in words}
    method = structure_words(words, Benchmark).method.name
    presets = PRESETS.get(method, {}).get(teacher, ())
    return structure_words(
        [*(word for word in presets if word.partition("=")[0] not in given), *words], Benchmark
    )


def measure(words: Sequence[str], name: str) -> list[Figure]:
    """Distils one teacher on one thread and measures the student."""
    torch.set_num_threads(1)
    config, registry = configured(words, name), discover()
    began, began_cpu = time.perf_counter(), time.process_time()
    teacher_settings = structure_words([f"teacher=exact-{name}"], _TeacherChoice).teacher.settings
    teacher: ExactTeacher = registry.load("teacher", f"exact-{name}")(teacher_settings, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        method = _trained(config, teacher, Path(folder))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    student = method.student()
    plans = [Schedule(student.jumps[: i + 1]) for i in range(len(student.jumps))]
    drawn: dict[str, list[Tensor]] = defaultdict(list)
    for draw in _draws(config.seed, _SAMPLES[name]):
        labels_B = draw.indices() % teacher.n_classes
        uniform_3BL = draw.uniform("token", 3, teacher.chain.n_tokens).unbind(1)
        codes_VC = teacher.tokenizer.codebook
        drawn["labels"].append(labels_B)
        for plan in plans:
            latents_BLC = generate(plan, student, teacher, Condition(labels_B), draw)
            drawn[_student(plan.passes)].append(latents_BLC)
        drawn["floor"].append(codes_VC[teacher.chain.sample(labels_B, uniform_3BL[0])])
        drawn["baseline"].append(codes_VC[teacher.chain.sample_independent(labels_B, uniform_3BL[1])])
        drawn["reference"].append(codes_VC[teacher.chain.sample(labels_B, uniform_3BL[2])])
    sets = {key: torch.cat(parts) for key, parts in drawn.items()}
    figures = []
    bounds = BOUNDS.get(config.method.name, {})
    for what, values in _distances(name, teacher, sets, [plan.passes for plan in plans]).items():
        floor, baseline = values["floor"], values["baseline"]
        bound = bounds[what].of(baseline) if what in bounds else None
        for plan in plans:
            reached = values[_student(plan.passes)]
            figures.append(
                Figure(name, what, plan.passes, reached, floor, baseline, bound, seconds, cpu_seconds)
            )
            bound = reached if what in BETTERED else None
    return figures


def _student(passes: int) -> str:
    return f"student in {passes}"


def _draws(seed: int, count: int) -> Iterator[Draw]:
    for start in range(0, count, _CHUNK):
        yield Draw(seed, "benchmarks/exact", start, min(_CHUNK, count - start))


def _trained(config: Benchmark, teacher: ExactTeacher, folder: Path) -> DistillMethod:
    context = RunContext(config.seed, folder, torch.device("cpu"))
    method: DistillMethod = discover().load("method", config.method.name)(
        config.method.settings, teacher, context
    )
    method.prepare(_Silent())
    journal = Journal(folder)
    Trainer(
        method=method,
        seed=config.seed,
        device=context.device,
        checkpoints=Checkpoints(folder / "checkpoints", keep=1),
        every=sys.maxsize,
        journal=journal,
        progress=_Silent(),
    ).run()
    journal.close()
    return method


def _distances(
    name: str, teacher: ExactTeacher, sets: Mapping[str, Tensor], passes: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Measure -> the distances of the student in each number of passes, of floor and baseline."""
    found: dict[str, dict[str, float]] = {}
    chain = teacher.chain
    for who in (*map(_student, passes), "floor", "baseline"):
        latents_BLC, labels_B = sets[who], sets["labels"]
        tokens_BL = teacher.tokens(latents_BLC)
        if name == "sparse":
            values = {
                "total variation": total_variation(tokens_BL, labels_B, chain.log_joint(), chain.n_codes)
            }
        else:
            values = {
                "energy distance": energy_distance(latents_BLC, sets["reference"]),
                "coarse total variation": coarse_total_variation(latents_BLC, sets["reference"], _CELL_EDGES),
            }
        values["negative log-likelihood"] = float(chain.nll(labels_B, tokens_BL).mean())
        for what, value in values.items():
            found.setdefault(what, {})[who] = value
    return found


def _show(figures: Sequence[Figure]) -> None:
    columns = (
        "teacher",
        "measure",
        "passes",
        "student",
        "floor",
        "independent",
        "bound",
        "",
        "seconds",
        "cpu s",
    )
    print_table(
        [
            (
                figure.teacher,
                figure.measure,
                str(figure.passes),
                f"{figure.student:.4f}",
                f"{figure.floor:.4f}",
                f"{figure.baseline:.4f}",
                "-" if figure.bound is None else f"{figure.bound:.4f}",
                "-" if figure.bound is None else "MISSED" if figure.missed else "ok",
                f"{figure.seconds:.0f}",
                f"{figure.cpu_seconds:.0f}",
            )
            for figure in figures
        ],
        columns,
    )


def run(words: Sequence[str]) -> list[Figure]:
    """All figures, every teacher in its own process; writes `out` where it is given."""
    chosen = structure_words(words, Benchmark)
    names = ("sparse", "dense") if chosen.teacher == "both" else (chosen.teacher,)
    configs = {name: plain(configured(words, name)) for name in names}
    with ProcessPoolExecutor(len(names), mp_context=get_context("spawn")) as pool:
        figures = [figure for each in pool.map(measure, [words] * len(names), names) for figure in each]
    if chosen.out is not None:
        record: dict[str, Any] = {
            "figures": [attrs.asdict(figure) for figure in figures],
            "config": configs,
            "hardware": hardware() | {"threads": 1, "processes": len(names)},
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomic(chosen.out, json_text(record))
    return figures


def main(words: Sequence[str]) -> int:
    if {"-h", "--help"} & set(words):
        print((__doc__ or "").strip())
        return 0
    try:
        figures = run(words)
    except ArdistillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    _show(figures)
    return int(any(figure.missed for figure in figures))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
