"""From words to a result: models loaded and held in their precision, measured, and told as records."""

from collections.abc import Sequence
from statistics import median

import attrs
import torch

from ardistill.benching.generators import Generator, Models, Words, generators, load
from ardistill.benching.measuring import Cell, Measured, Wanted, measure
from ardistill.benching.result import Ceiling, Given, Part, Result, Row, Timed, all_versions
from ardistill.config.bench import ON_GPU
from ardistill.config.section import plain
from ardistill.errors import ConfigError
from ardistill.evaluation.report import hardware
from ardistill.evaluation.timing.precision import HELD, check, computing, dtype_of, hold
from ardistill.launch.parts import choose_device
from ardistill.plugins import Registry
from ardistill.protocols import Progress


def bench(words: Words, registry: Registry, command: str, progress: Progress) -> Result:
    """All that the words ask for. Raises ConfigError, PluginError or WeightsError before any of it is measured."""
    device = choose_device(words)
    check_device(words, device)
    models = load(words, registry)
    found = generators(models, words)
    for module in models.modules:
        hold(module, words.precision)
    wanted = Wanted(words.batches, words.modes, words.repeats, words.budget, words.largest)
    with computing(words.precision, device):
        measured = measure(
            found,
            models.teacher.tokenizer.decode,
            models.modules,
            dtype_of(words.precision),
            wanted,
            device=device,
            progress=progress,
        )
    return _result(words, models, found, measured, command)


def check_device(words: Words, device: torch.device) -> None:
    """Raises ConfigError where the device does not have the modes or the precision."""
    lacking = ON_GPU.intersection(words.modes)
    if lacking and device.type == "cpu":
        raise ConfigError(
            f"modes={min(lacking)} is of CUDA, and this is a CPU; leave it out, or give device=cuda"
        )
    check(words.precision, device)


def _result(
    words: Words, models: Models, found: Sequence[Generator], measured: Measured, command: str
) -> Result:
    compare = words.compare
    given = Given(compare.of, compare.batch, compare.tokens, compare.whole)
    return Result(
        rows=tuple(_row(cell, measured) for cell in measured.cells),
        timed=tuple(_timed(each, measured) for each in found),
        left_out=measured.left_out,
        ceiling=Ceiling(**attrs.asdict(measured.ceilings)),
        precision=words.precision,
        held=HELD[words.precision],
        config=plain(words),
        command=command,
        seconds=measured.seconds,
        given=given if compare.tokens or compare.whole else None,
        versions=all_versions(models.device),
        hardware=hardware(models.device),
    )


def _timed(generator: Generator, measured: Measured) -> Timed:
    cost = measured.tokens[generator.name]
    return Timed(
        generator.name,
        generator.passes,
        generator.parameters,
        generator.weights,
        cost.flops,
        measured.decode.flops,
        cost.weight_bytes,
    )


def _row(cell: Cell, measured: Measured) -> Row:
    laps, best, cost = cell.laps, measured.ceilings, measured.tokens[cell.generator.name]

    def part(seconds: Sequence[float], flops: int = 0) -> Part:
        each = [one / cell.batch for one in seconds]
        middle = median(each)
        return Part(middle, min(each), max(each), flops / middle / best.flops if flops else None)

    draw, tokens, decode = zip(*laps.stages, strict=True)
    whole = part(laps.seconds, cost.flops + measured.decode.flops)
    reading = cost.weight_bytes / best.bytes / median(tokens)
    return Row(
        name=cell.generator.name,
        mode=cell.mode,
        batch=cell.batch,
        repeats=len(laps.seconds),
        draw=part(draw),
        tokens=part(tokens, cost.flops),
        decode=part(decode, measured.decode.flops),
        whole=whole,
        largest=cell.largest,
        peak_bytes=max(laps.peaks, default=None),
        speedup=_over_teacher(cell, measured),
        weights_read=reading if cost.weight_bytes else None,
    )


def _over_teacher(cell: Cell, measured: Measured) -> float | None:
    """The teacher's seconds an image over the cell's; those of the largest batches are compared with each other."""

    def beside(other: Cell) -> bool:
        same = other.largest if cell.largest else other.batch == cell.batch
        return other.generator.name == teacher and other.mode == cell.mode and same

    teacher = next(iter(measured.tokens))
    theirs = next(filter(beside, measured.cells), None)
    if theirs is None:
        return None
    return (median(theirs.laps.seconds) / theirs.batch) / (median(cell.laps.seconds) / cell.batch)
