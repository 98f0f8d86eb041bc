"""A call on fixed tensors as one CUDA graph: all its kernels at once, without Python in between.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. What is captured are whole loops, a teacher's
with all its steps. (torch.compile's own graphs, mode="reduce-overhead", are of one network, and give outputs that the
next call overwrites: a cache of keys and values does not survive that.)
"""

from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from ardistill.evaluation.timing.memory import peak

_WARMUP = 2
"""Calls before the capture, in which libraries choose their kernels and allocate what they keep."""


@attrs.frozen(eq=False)
class Captured:
    """`replay()` does the work again on the tensors that it was captured with, and gives always the same tensor."""

    graph: torch.cuda.CUDAGraph
    output: Tensor
    peak_bytes: int | None
    """The highest memory while it was captured: a replay allocates nothing, and shows none."""

    def replay(self) -> Tensor:
        self.graph.replay()
        return self.output


def capture(call: Callable[[], Tensor], device: torch.device) -> Captured:
    """Raises RuntimeError where the call waits for the device, or allocates beside torch."""
    with torch.cuda.device(device), peak(device) as high:
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(_WARMUP):
                call()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = call()
    return Captured(graph, output, high.bytes)
