"""What collecting pairs costs beside drawing plain samples of the same teacher.

    python benchmarks/collection.py teacher=var-d16 batch=4 device=cpu
    python benchmarks/collection.py teacher=llamagen-b batch=8 rounds=3 trajectory.evaluations=20 out=collection.json

Teachers have the published sizes, guidance and filters, and random weights, which cost what trained ones do. Each
round draws one batch plainly and collects one batch of pairs into a folder (noise, tokens, checksum, file), in one
process. The ratio is of the medians; it exits with 1 where that is above the bound. The digest of the teacher's
weights, which a folder costs once, is timed by itself.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from ardistill_llamagen import config as llamagen
from ardistill_llamagen.initialise import initialise as initialise_llamagen
from ardistill_llamagen.loading import PAPER_GUIDANCE as LLAMAGEN_GUIDANCE
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_llamagen.transformer import GPT
from ardistill_var import config as var
from ardistill_var.initialise import initialise as initialise_var
from ardistill_var.loading import PAPER_GUIDANCE as VAR_GUIDANCE
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR
from ardistill_vqgan.quantizer_training import initialise as initialise_tokenizer

from ardistill.cli import check_output
from ardistill.cli.terminal import print_table
from ardistill.config import Section, section_of, structure_words
from ardistill.config.section import plain
from ardistill.errors import ArdistillError
from ardistill.evaluation.report import hardware, versions
from ardistill.files import json_text, write_atomic
from ardistill.launch.collecting import pairing_of
from ardistill.launch.parts import usable
from ardistill.noise import Draw
from ardistill.plugins import discover
from ardistill.protocols import ARTeacher, Condition
from ardistill.sampling import teacher_tokens
from ardistill.trajectories import Pairs

BOUND = 1.15
"""Of plain sampling's time, what collection may take."""

_LIVELY_HEAD, _LIVELY_OUTPUT = 4.0, 0.1
"""So that logits differ by a few nats, as trained ones do: filters then keep some codes and not all."""


def var_teacher(model: var.VARConfig, tokenizer: var.VARTokenizerConfig) -> VARTeacher:
    """A VAR of random weights."""
    network, coder = VAR(model), VARTokenizer(tokenizer)
    initialise_var(network, seed=0, head=_LIVELY_HEAD)
    initialise_tokenizer(coder, seed=1)
    return VARTeacher(network, coder, VAR_GUIDANCE)


def llamagen_teacher(model: llamagen.GPTConfig, tokenizer: LlamaGenTokenizerConfig) -> LlamaGenTeacher:
    """A LlamaGen of random weights."""
    network, coder = GPT(model), LlamaGenTokenizer(tokenizer)
    initialise_llamagen(network, seed=0)
    with torch.no_grad():
        network.output.weight.normal_(std=_LIVELY_OUTPUT, generator=torch.Generator().manual_seed(2))
    initialise_tokenizer(coder, seed=1)
    return LlamaGenTeacher(network, coder, LLAMAGEN_GUIDANCE)


def tiny() -> VARTeacher:
    """To see whether the script runs; it says nothing about cost."""
    sides, vocab = (1, 2), 16
    model = var.VARConfig(
        depth=1, width=16, heads=2, code_width=4, num_classes=3, patch_nums=sides, vocab=vocab
    )
    tokenizer = var.VARTokenizerConfig(
        patch_nums=sides,
        vocab=vocab,
        z_channels=4,
        ch=8,
        ch_mult=(1, 2),
        num_res_blocks=1,
        groups=4,
        in_channels=1,
    )
    return var_teacher(model, tokenizer)


TEACHERS: Mapping[str, Callable[[], ARTeacher]] = {
    "var-d16": lambda: var_teacher(*var.PRESETS["d16"]),
    "llamagen-b": lambda: llamagen_teacher(llamagen.PRESETS["c2i-B"], LlamaGenTokenizerConfig()),
    "tiny": tiny,
}


@attrs.frozen(kw_only=True)
class Benchmark:
    teacher: Literal["var-d16", "llamagen-b", "tiny"] = "var-d16"
    trajectory: Section = attrs.field(metadata=section_of("trajectory", default="flow-matching"))
    batch: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    rounds: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    device: str = "cpu"
    threads: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.le(4096)])
    """CPU threads; 0 leaves torch's own choice."""
    bound: float = attrs.field(default=BOUND, validator=attrs.validators.gt(0.0))
    seed: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    out: Path | None = None
    """A JSON file for the figures, with hardware, versions and configuration."""


@attrs.frozen
class Figure:
    """Seconds a batch of both, round by round, and what the folder costs once."""

    teacher: str
    batch: int
    plain: tuple[float, ...]
    collected: tuple[float, ...]
    digest_seconds: float
    bound: float

    def images_per_second(self, seconds: Sequence[float]) -> float:
        return self.batch / statistics.median(seconds)

    @property
    def ratio(self) -> float:
        """What collection takes for each second of plain sampling."""
        return statistics.median(self.collected) / statistics.median(self.plain)

    @property
    def missed(self) -> bool:
        return not self.ratio <= self.bound


class _Silent:
    def advance(self, done: int, total: int, what: str) -> None: ...


def measure(config: Benchmark) -> Figure:
    """Both kinds of work in turns, after one batch of each that is not counted."""
    device = usable(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    pairing = pairing_of(config.trajectory, discover())
    teacher = TEACHERS[config.teacher]().to(device)
    plain_times, collected_times = [], []
    with tempfile.TemporaryDirectory() as folder:
        pairs = Pairs.at(Path(folder), teacher, pairing, config.seed, shard=config.batch)
        digest_seconds = _timed(device, lambda: pairs.origin)
        for turn in range(config.rounds + 1):
            work = {
                "plain": lambda turn=turn: _plain_batch(config, teacher, turn),
                "collected": lambda turn=turn: pairs.collect(
                    (turn + 1) * config.batch, batch=config.batch, progress=_Silent()
                ),
            }
            # Who goes first changes, so that a machine that slows down favours neither.
            times = {kind: _timed(device, work[kind]) for kind in sorted(work, reverse=bool(turn % 2))}
            if turn:
                plain_times.append(times["plain"])
                collected_times.append(times["collected"])
    return Figure(
        config.teacher,
        config.batch,
        tuple(plain_times),
        tuple(collected_times),
        digest_seconds,
        config.bound,
    )


def _plain_batch(config: Benchmark, teacher: ARTeacher, turn: int) -> None:
    draw = Draw(
        config.seed,
        "benchmarks/collection",
        turn * config.batch,
        config.batch,
        teacher.tokenizer.codebook.device,
    )
    condition = Condition(draw.integers("label", teacher.n_classes))
    teacher_tokens(teacher, condition, draw.uniform("token", teacher.layout.n_tokens)).cpu()


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds until the device has finished, too."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _show(figure: Figure, config: Benchmark) -> None:
    columns = (
        "teacher",
        "batch",
        "plain images/s",
        "pairs/s",
        "ratio",
        "worst round",
        "bound",
        "",
        "digest s",
    )
    rounds = [pair / alone for pair, alone in zip(figure.collected, figure.plain, strict=True)]
    row = (
        figure.teacher,
        figure.batch,
        f"{figure.images_per_second(figure.plain):.4g}",
        f"{figure.images_per_second(figure.collected):.4g}",
        f"{figure.ratio:.3f}",
        f"{max(rounds):.3f}",
        f"{figure.bound:.2f}",
        "MISSED" if figure.missed else "ok",
        f"{figure.digest_seconds:.1f}",
    )
    print_table([row], columns)
    told = {"trajectory": plain(config.trajectory), **hardware(config.device), **versions()}
    print("\n" + ", ".join(f"{key} {value}" for key, value in told.items()))


def run(words: Sequence[str]) -> tuple[Figure, Benchmark]:
    """The figure, and the words' meaning; writes `out` where it is given."""
    config = structure_words(words, Benchmark)
    if config.out is not None:
        check_output(config.out)
    figure = measure(config)
    if config.out is not None:
        record: dict[str, Any] = {
            "figure": {**attrs.asdict(figure), "ratio": figure.ratio},
            "config": plain(config),
            "hardware": hardware(config.device),
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomic(config.out, json_text(record))
    return figure, config


def main(words: Sequence[str]) -> int:
    if {"-h", "--help"} & set(words):
        print((__doc__ or "").strip())
        return 0
    try:
        figure, config = run(words)
    except ArdistillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    _show(figure, config)
    return int(figure.missed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
