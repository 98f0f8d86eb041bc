"""Top-k and top-p of VAR's and of LlamaGen's samplers.

Recorded from VAR models/helpers.py:sample_with_top_k_top_p_ and LlamaGen autoregressive/models/generate.py:sample.
"""

from collections.abc import Callable, Iterator, Mapping

from ardistill_llamagen.filters import filtered_log_probs as llamagen_log_probs
from ardistill_var.filters import filtered_log_probs as var_log_probs
from golden import Fixture
from torch import Tensor

from ardistill.protocols import Guidance
from parity_checks.calls import Triple, each


def check_var(fixture: Fixture) -> Iterator[Triple]:
    """`probs_i` (B, L, V): the distribution of every token of `logits` in the i-th case."""
    return _cases(fixture, fixture["logits"], var_log_probs)


def check_llamagen(fixture: Fixture) -> Iterator[Triple]:
    """`probs_i` (B, V): the distribution at the last position of `logits` (B, L, V) in the i-th case."""
    return _cases(fixture, fixture["logits"][:, -1], llamagen_log_probs)


def _cases(
    fixture: Fixture, logits: Tensor, log_probs: Callable[[Tensor, Guidance], Tensor]
) -> Iterator[Triple]:
    cases: list[Mapping[str, float]] = fixture.info["cases"]
    for name, got, want in each(fixture, "probs_", lambda i: log_probs(logits, _guidance(cases[i])).exp()):
        yield name, got, want
        yield name, (got == 0).int(), (want == 0).int()  # what is removed is removed whole


def _guidance(case: Mapping[str, float]) -> Guidance:
    top_k, top_p = int(case.get("top_k", 0)), case.get("top_p", 0.0)
    return Guidance(top_k=top_k, top_p=top_p, temperature=max(case.get("temperature", 1.0), 1e-5))
