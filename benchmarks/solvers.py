"""What the ODE solvers from noise to tokens cost and spoil (docs/ode.md).

    python benchmarks/solvers.py
    python benchmarks/solvers.py codes=digits-var seed=1 n=160000 out=solvers.json
    python benchmarks/solvers.py ways=true

For six codebooks, with distributions from a teacher at prefixes of its own or made to resemble a large one's:
*agreement*, the share of tokens that 1,000 steps of heun find, too, over many distributions; *z*, how far the tokens of
`n` noise vectors are from the distribution itself, by chi-square in its own deviations (0 is none, sampling gives 1 or
2), and their total variation, beside the *floor*, that of as many samples; and microseconds of one core a token. For
the large codebooks n is a tenth, and so is what z can see. About two minutes.

`ways=true` measures instead how the default solve is best computed for the large codebooks: over all codes, compiled,
and over each row's own codes, however many those are. The ways take turns. About a minute.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

import ardistill
from ardistill import posteriors
from ardistill.cli.terminal import print_table
from ardistill.config import structure_words
from ardistill.config.section import plain
from ardistill.errors import ArdistillError
from ardistill.evaluation.report import hardware, versions
from ardistill.files import json_text, write_atomic
from ardistill.flow import ode_map
from ardistill.noise import Draw
from ardistill.protocols import Condition
from ardistill.sampling import categorical, top_k
from ardistill.solvers import Solver

CodesName = Literal[
    "digits-var", "digits-llamagen", "exact-sparse", "exact-dense", "like-var", "like-llamagen"
]
_ALL: tuple[CodesName, ...] = (
    "digits-var",
    "digits-llamagen",
    "exact-sparse",
    "exact-dense",
    "like-var",
    "like-llamagen",
)
SOLVES: tuple[tuple[Solver, int], ...] = (
    ("euler", 10),
    ("euler", 20),
    ("euler", 40),
    ("heun", 11),
    ("heun", 21),
    ("heun", 31),
    ("multistep", 8),
    ("multistep", 12),
    ("multistep", 16),
    ("multistep", 20),
    ("multistep", 31),
)
_REFERENCE_STEPS = 1_000
_LARGE = 1_000  # codes, from which on a token costs so much that fewer are solved
_POSITIONS, _POSITIONS_LARGE = 1_000, 128
_ROUNDS = 5


@attrs.frozen(kw_only=True)
class Benchmark:
    codes: CodesName | None = None
    """One codebook; without it, all six."""
    seed: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    n: int = attrs.field(default=40_000, validator=attrs.validators.ge(1_000))
    """Noise vectors for the distribution that is looked at closely."""
    ways: bool = False
    """Whether to measure ways to compute, in place of solvers."""
    out: Path | None = None
    """A JSON file for the figures, with hardware, versions and configuration."""


@attrs.frozen(eq=False)
class Problem:
    """A codebook and N distributions over it."""

    codes_VC: Tensor
    log_p_NV: Tensor

    @property
    def typical_V(self) -> Tensor:
        """The log-probabilities whose entropy is the median."""
        entropy_N = -(self.log_p_NV.exp() * self.log_p_NV.clamp_min(-1e4)).sum(-1)
        return self.log_p_NV[int(entropy_N.argsort()[len(entropy_N) // 2])]


@attrs.frozen
class Figure:
    """One solve of one codebook; `evaluations` 0 is the reference, held against half as many steps."""

    codes: str
    solver: str
    evaluations: int
    agreement: float
    z: float | None
    variation: float | None
    floor: float | None
    microseconds: float


@attrs.frozen
class WayFigure:
    """The default solve, in microseconds a token, of distributions with `left` codes in the mean.

    `agreement` is of the ways with the first: the lesser share of tokens.
    """

    codes: str
    left: int
    share: float
    whole: float
    compiled: float
    few: float
    agreement: float


def from_teacher(name: str, seed: int) -> Problem:
    """A teacher's conditionals, at places of the image and after prefixes that the seed chooses."""
    teacher = ardistill.load_teacher(name)
    layout = teacher.layout
    draw = Draw(seed, f"benchmarks/solvers/{name}", 0, max(64, _POSITIONS // layout.n_tokens + 1))
    cursor = teacher.start(Condition(draw.integers("label", teacher.n_classes)))
    uniform_BL = draw.uniform("token", layout.n_tokens)
    steps = []
    for step in range(layout.n_steps):
        log_p_BlV = cursor.log_probs()
        steps.append(log_p_BlV)
        cursor.accept(categorical(log_p_BlV, uniform_BL[:, layout.span(step)]))
    log_p_NV = torch.cat(steps, dim=1).flatten(0, 1)
    return Problem(
        teacher.tokenizer.codebook.detach(), log_p_NV[_chosen(len(log_p_NV), _POSITIONS, seed)].detach()
    )


def made_up(name: str, seed: int) -> Problem:
    """As many codes as a released tokenizer's, as wide, and peaked distributions that favour a direction.

    LlamaGen's have length 1, the others unequal entries. VAR-d16 keeps the best 900 of 4,096 codes and then 95% of
    their mass, LlamaGen-B the best 8,000 of 16,384.
    """
    n_codes, width = (4_096, 32) if name == "like-var" else (16_384, 8)
    of_code, of_place = (
        Draw(seed, f"{name}/codes", 0, n_codes),
        Draw(seed, f"{name}/places", 0, _POSITIONS_LARGE),
    )
    codes_VC = of_code.normal("code", width)
    codes_VC = (
        codes_VC * torch.linspace(1.5, 0.3, width) if name == "like-var" else F.normalize(codes_VC, dim=-1)
    )
    pull_N1 = 2 * torch.exp(0.5 * of_place.normal("pull", 1))
    sharpness_N1 = 4 ** of_place.uniform("sharpness", 1) / 1.5
    favour_NV = of_place.normal("favoured", width) @ codes_VC.T / codes_VC.norm(dim=-1).mean()
    logits_NV = sharpness_N1 * (pull_N1 * favour_NV + 1.5 * of_place.normal("rough", n_codes))
    logits_NV = top_k(logits_NV, 900 if name == "like-var" else 8_000)
    if name == "like-var":
        sorted_NV, order_NV = logits_NV.softmax(-1).sort(-1, descending=True)
        beyond_NV = sorted_NV.cumsum(-1) - sorted_NV > 0.95
        logits_NV = logits_NV.masked_fill(
            torch.zeros_like(beyond_NV).scatter(-1, order_NV, beyond_NV), -math.inf
        )
    return Problem(codes_VC, logits_NV.log_softmax(-1))


def problem(name: CodesName, seed: int) -> Problem:
    if name.startswith("like-"):
        return made_up(name, seed)
    return from_teacher(name.removeprefix("digits-"), seed)


def _chosen(count: int, n: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:n]


def distance(tokens_n: Tensor, p_V: Tensor) -> tuple[float, float]:
    """Chi-square of the tokens' counts, in deviations from its mean, and their total variation from p.

    Tokens expected fewer than five times count as one.
    """
    expected_V = len(tokens_n) * p_V.double()
    observed_V = torch.bincount(tokens_n, minlength=len(p_V)).double()
    rare_V = expected_V < 5
    expected, observed = (
        torch.cat([x_V[~rare_V], x_V[rare_V].sum(0, keepdim=True)]) for x_V in (expected_V, observed_V)
    )
    expected, observed = expected[expected > 1], observed[expected > 1]
    freedom = len(expected) - 1
    chi_square = float(((observed - expected).square() / expected).sum())
    variation = float((observed_V - expected_V).abs().sum()) / 2 / len(tokens_n)
    return (chi_square - freedom) / math.sqrt(2 * freedom), variation


def measured(name: CodesName, config: Benchmark) -> Iterator[Figure]:
    """The reference, then every solve."""
    case = problem(name, config.seed)
    n_positions, width = len(case.log_p_NV), case.codes_VC.shape[1]
    noise_NC = Draw(config.seed, f"{name}/agreement", 0, n_positions).normal("noise", width)
    large = len(case.codes_VC) >= _LARGE
    many = Draw(config.seed, f"{name}/marginal", 0, config.n // 10 if large else config.n)
    many_nC = many.normal("noise", width)
    drawn_n = categorical(case.typical_V.expand(len(many), -1), many.uniform("token"))
    _, floor = distance(drawn_n, case.typical_V.exp())

    def solved(solver: Solver, evaluations: int) -> Callable[[], Tensor]:
        return lambda: ode_map(noise_NC, case.log_p_NV, case.codes_VC, solver=solver, evaluations=evaluations)

    reference_N, microseconds = _timed(solved("heun", 2 * _REFERENCE_STEPS - 1), repeats=1)
    agreement = _share_equal(solved("heun", _REFERENCE_STEPS - 1)(), reference_N)
    yield Figure(name, "reference", 0, agreement, None, None, None, microseconds / n_positions)
    for solver, evaluations in SOLVES:
        tokens_N, microseconds = _timed(solved(solver, evaluations), repeats=3)
        tokens_n = ode_map(many_nC, case.typical_V, case.codes_VC, solver=solver, evaluations=evaluations)
        z, variation = distance(tokens_n, case.typical_V.exp())
        agreement = _share_equal(tokens_N, reference_N)
        yield Figure(name, solver, evaluations, agreement, z, variation, floor, microseconds / n_positions)


def ways(name: CodesName, config: Benchmark) -> Iterator[WayFigure]:
    """As the large teacher filters, and for equally many codes everywhere."""
    case = problem(name, config.seed)
    n_codes, width = case.codes_VC.shape
    noise_NC = Draw(config.seed, f"{name}/agreement", 0, len(case.log_p_NV)).normal("noise", width)
    rough_NV = Draw(config.seed, f"{name}/ways", 0, len(case.log_p_NV)).normal("rough", n_codes)
    equally = [top_k(2 * rough_NV, n_codes // parts).log_softmax(-1) for parts in (32, 16, 12, 8, 6, 4, 2)]
    for log_p_NV in (case.log_p_NV, *equally):

        def solved(log_p_NV: Tensor, *, compiled: bool = False, few: bool = False) -> tuple[Tensor, float]:
            solve = partial(ode_map, noise_NC, log_p_NV, case.codes_VC, compiled=compiled, restricted=few)
            tokens_N, microseconds = _timed(solve, repeats=1)
            return tokens_N, microseconds / len(noise_NC)

        solved(log_p_NV, compiled=True)  # which compiles
        rounds = [
            (solved(log_p_NV), solved(log_p_NV, compiled=True), solved(log_p_NV, few=True))
            for _ in range(_ROUNDS)
        ]
        whole, compiled, few = (min(took for _, took in way) for way in zip(*rounds, strict=True))
        agreement = min(_share_equal(tokens_N, rounds[0][0][0]) for tokens_N, _ in rounds[0])
        left = float(log_p_NV.isfinite().sum(-1).float().mean())
        yield WayFigure(name, round(left), left / n_codes, whole, compiled, few, agreement)


def _share_equal(some_N: Tensor, others_N: Tensor) -> float:
    return float((some_N == others_N).float().mean())


def _timed(solve: Callable[[], Tensor], *, repeats: int) -> tuple[Tensor, float]:
    """The result, and the microseconds of processor time of the quickest repeat."""
    quickest = math.inf
    for _ in range(repeats):
        began = time.process_time()
        tokens = solve()
        quickest = min(quickest, time.process_time() - began)
    return tokens, 1e6 * quickest


def run(words: Sequence[str]) -> list[Figure] | list[WayFigure]:
    """All figures, on one thread; writes `out` where it is given."""
    config = structure_words(words, Benchmark)
    torch.set_num_threads(1)
    names = _ALL if config.codes is None else (config.codes,)
    figures: list[Figure] | list[WayFigure]
    if config.ways:
        large = [name for name in names if name.startswith("like-")]
        with patch.multiple(posteriors, _FEW_CPU=1.0, _WORTH_PARTING=1):
            figures = [figure for name in large for figure in ways(name, config)]
    else:
        figures = [figure for name in names for figure in measured(name, config)]
    if config.out is not None:
        record = {
            "figures": [attrs.asdict(figure) for figure in figures],
            "config": plain(config),
            "hardware": hardware(),
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomic(config.out, json_text(record))
    return figures


def _show(figures: Sequence[Figure] | Sequence[WayFigure]) -> None:
    rows = [_way_row(figure) if isinstance(figure, WayFigure) else _row(figure) for figure in figures]
    ways = any(isinstance(figure, WayFigure) for figure in figures)
    print_table(rows, _WAY_COLUMNS if ways else _COLUMNS)
    told = {**hardware(), **versions()}
    print("\n" + ", ".join(f"{what} {value}" for what, value in told.items()))


_COLUMNS = ("codes", "solver", "evaluations", "agreement", "z", "variation", "floor", "us a token")
_WAY_COLUMNS = ("codes", "left", "share", "whole, us a token", "compiled", "few", "agreement")


def _row(figure: Figure) -> tuple[object, ...]:
    return (
        figure.codes,
        figure.solver,
        figure.evaluations or 2 * _REFERENCE_STEPS - 1,
        f"{figure.agreement:.3f}",
        "-" if figure.z is None else f"{figure.z:.1f}",
        "-" if figure.variation is None else f"{figure.variation:.4f}",
        "-" if figure.floor is None else f"{figure.floor:.4f}",
        f"{figure.microseconds:.1f}",
    )


def _way_row(figure: WayFigure) -> tuple[object, ...]:
    return (
        figure.codes,
        figure.left,
        f"{figure.share:.3f}",
        f"{figure.whole:.0f}",
        f"{figure.compiled:.0f} ({figure.compiled / figure.whole:.2f})",
        f"{figure.few:.0f} ({figure.few / figure.whole:.2f})",
        f"{figure.agreement:.3f}",
    )


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
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
