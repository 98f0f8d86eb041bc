"""What packed weights save on this CPU: linear layers of released sizes, plain and in `ardistill.forwards.packed`.

    python benchmarks/packing.py threads=1

Layers of a size are many enough to lie in memory rather than in a cache, as a model's do. Both ways take turns; medians
of `rounds`, and the bytes of weights a second, beside what a plain sum over the same weights reads.

Shape legend: R rows, I inputs, O outputs.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import attrs
import torch
from attrs.validators import ge
from torch import nn

from ardistill.cli.terminal import print_table
from ardistill.config import structure_words
from ardistill.errors import ArdistillError
from ardistill.forwards import packed

SIZES = {
    "LlamaGen-B qkv": (768, 2304),
    "LlamaGen-B w2": (2048, 768),
    "VAR-d16 qkv": (1024, 3072),
    "VAR-d16 fc2": (4096, 1024),
}
ROWS = (2, 32, 512)
"""An image alone with guidance; a middle scale of VAR; its last."""
_BYTES = 200 << 20


@attrs.frozen
class Packing:
    threads: int = attrs.field(default=1, validator=ge(1))
    rounds: int = attrs.field(default=7, validator=ge(1))


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measured(inputs: int, outputs: int, rows: int, rounds: int) -> dict[str, float]:
    """Median seconds of a pass over all layers."""
    count = max(2, _BYTES // (4 * inputs * outputs))
    layers = nn.ModuleList(nn.Linear(inputs, outputs, bias=False) for _ in range(count))
    x_RI = torch.ones(rows, inputs)
    found: dict[str, list[float]] = {"plain": [], "packed": [], "read": []}

    def through() -> None:
        for layer in layers:
            layer(x_RI)

    def read() -> None:
        for weight_OI in layers.parameters():
            weight_OI.sum()

    for turn in range(rounds + 1):
        now = {"plain": seconds(through), "read": seconds(read)}
        with packed(layers):
            now["packed"] = seconds(through)
        for name, took in now.items() if turn else ():
            found[name].append(took)
    return {name: statistics.median(each) for name, each in found.items()} | {
        "bytes": count * 4 * inputs * outputs
    }


def main(words: Sequence[str]) -> int:
    try:
        given = structure_words(list(words), Packing)
    except ArdistillError as error:
        print(f"packing: {error}", file=sys.stderr)
        return error.exit_code
    torch.set_num_threads(given.threads)
    table = []
    with torch.no_grad():
        for name, (inputs, outputs) in SIZES.items():
            for rows in ROWS:
                took = measured(inputs, outputs, rows, given.rounds)
                rates = (f"{took['bytes'] / took[way] / 1e9:.1f}" for way in ("plain", "packed", "read"))
                table.append((name, str(rows), *rates, f"{took['packed'] / took['plain']:.2f}"))
    print_table(table, ("layer", "rows", "plain GB/s", "packed GB/s", "read GB/s", "packed / plain"))
    print(f"torch {torch.__version__}, {given.threads} threads")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
