"""Which of the shared residual convolutions serves each scale. Recorded from VAR models/quant.py:PhiPartiallyShared."""

from collections.abc import Iterator

import torch
from ardistill_var.scales import phi_index
from golden import Fixture

from parity_checks.calls import Triple


def check(fixture: Fixture) -> Iterator[Triple]:
    """`patterns`: number of scales -> the convolution of each. All of them occur where there are scales enough."""
    patterns = {int(n_scales): pattern for n_scales, pattern in fixture.info["patterns"].items()}
    n_convs = 1 + max(max(pattern) for pattern in patterns.values())
    for n_scales, pattern in patterns.items():
        yield f"patterns[{n_scales}]", torch.tensor(phi_index(n_scales, n_convs)), torch.tensor(pattern)
