"""One generator in one mode at one batch, as three stages that are timed in one call: draw, tokens, decode.

Shape legend: B batch, L tokens, C code width, H W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ardistill.benching.generators import Generator, Numbers
from ardistill.evaluation.timing.compiling import Compiler
from ardistill.evaluation.timing.graphs import capture
from ardistill.evaluation.timing.rounds import Stage
from ardistill.forwards import Forward, swapped

Decode = Callable[[Tensor], Tensor]
Forwards = Mapping[nn.Module, Forward]
_COMPILING_CALLS = 2
"""Of each batch; the second compiles what depends on how sizes change."""


@attrs.frozen(eq=False)
class Staged:
    """What `Bench.staged` calls; `peak_bytes` is the highest memory that making it took, where calling shows none."""

    stages: tuple[Stage, ...]
    peak_bytes: int | None = None

    def run(self) -> None:
        """All stages once."""
        made: Any = None
        for stage in self.stages:
            made = stage(made)


def eager(generator: Generator, decode: Decode, batch: int) -> Staged:
    return Staged((_draw(generator, batch), lambda numbers: generator.latents(*numbers), decode))


@attrs.frozen(eq=False)
class Networks:
    """What a generator's networks run when compiled: those that make tokens, and those that decode."""

    tokens: Forwards
    decode: Forwards

    @classmethod
    def of(cls, generator: Generator, decode: Decode, batch: int, compiler: Compiler) -> "Networks":
        """Makes a call to see which they are; compiling happens when they are called."""
        made: list[Tensor] = []
        numbers = generator.draw(batch)
        tokens = compiler.forwards(lambda: made.append(generator.latents(*numbers)))
        return cls(tokens, compiler.forwards(lambda: decode(made[0])))


def compiled(generator: Generator, decode: Decode, batch: int, networks: Networks) -> Staged:
    """With its networks through torch.compile, which happens here."""

    def latents(numbers: Numbers) -> Tensor:
        with swapped(networks.tokens):
            return generator.latents(*numbers)

    def decoded(latents_BLC: Tensor) -> Tensor:
        with swapped(networks.decode):
            return decode(latents_BLC)

    staged = Staged((_draw(generator, batch), latents, decoded))
    for _ in range(_COMPILING_CALLS):
        staged.run()
    return staged


def graphed(plain: Staged, device: torch.device) -> Staged:
    """The same with a CUDA graph in place of all that makes tokens, and one in place of decoding.

    Drawing stays outside: its numbers come from the CPU, and are copied to where the graph reads them.
    """
    draw, tokens, decode = plain.stages
    numbers: Numbers = draw(None)
    of_tokens = capture(lambda: tokens(numbers), device)
    latents_BLC = of_tokens.output.clone()
    of_images = capture(lambda: decode(latents_BLC), device)

    def drawn(_: None) -> None:
        _copy(numbers, draw(None))

    def replayed(_: None) -> Tensor:
        return of_tokens.replay()

    def decoded(made_BLC: Tensor) -> Tensor:
        latents_BLC.copy_(made_BLC)
        return of_images.replay()

    peaks = [each.peak_bytes or 0 for each in (of_tokens, of_images)]
    return Staged((drawn, replayed, decoded), max(peaks))


def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def _draw(generator: Generator, batch: int) -> Stage:
    return lambda _: generator.draw(batch)
