"""From a fixture's comparisons to one verdict.

An array counts as checked when it was compared or served as an input. What hangs on torch's random numbers (its name
begins with `rnd`) may differ; anything else that differs, or that no check asked for, is a failure. So is an array that
is missing, that is empty, or whose floats are no numbers.
"""

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs
import torch
from golden import ATOL, RTOL, Fixture, FixtureError, check_keys, full_keys
from torch import Tensor

from ardistill.errors import ArdistillError
from ardistill.wording import message_of, printable
from parity_checks.calls import Triple, listed
from parity_checks.kinds import function, kind_of
from parity_checks.needed import damaged, lacking


@attrs.frozen(kw_only=True)
class Result:
    """One fixture's line. `max_error` is over its float arrays, `worst` the array where it, or the mismatch, is.

    `keys` counts those compared of a released size, which has no arrays.
    """

    name: str
    kind: str
    checked: int = 0
    keys: int = 0
    mismatched: int = 0
    max_error: float = 0.0
    worst: str = ""
    unchecked: tuple[str, ...] = ()
    optional_differences: tuple[str, ...] = ()
    ok: bool
    reason: str = ""


@attrs.frozen
class Difference:
    """How far an array is from the recorded one: unequal integers, the largest float error, and whether it passes."""

    name: str
    mismatched: int = 0
    error: float = 0.0
    fault: str = ""

    @property
    def rank(self) -> tuple[bool, int, float]:
        """The worst difference has the largest."""
        return bool(self.fault), self.mismatched, self.error


def is_optional(name: str) -> bool:
    """Whether an array hangs on torch's generator, so that it need not agree."""
    return name.startswith("rnd")


def difference(name: str, got: Tensor, want: Tensor) -> Difference:
    """Integers by equality, floats by the tolerance; an infinity agrees with itself alone, NaN with nothing."""
    whole = not want.is_floating_point()
    if got.shape != want.shape:
        fault = f"{name} is {list(got.shape)} instead of {list(want.shape)}"
        return Difference(name, want.numel() if whole else 0, 0.0 if whole else math.inf, fault)
    if whole:
        unequal = int((got != want).sum())
        return Difference(
            name, unequal, 0.0, f"{unequal} of {name}'s {want.numel()} differ" if unequal else ""
        )
    got, want = got.double(), want.double()
    error = (got - want).abs().masked_fill(got == want, 0.0).nan_to_num(nan=math.inf, posinf=math.inf)
    largest = float(error.max()) if error.numel() else 0.0
    beyond = int((error > ATOL + RTOL * want.abs().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)).sum())
    return Difference(name, 0, largest, f"{name} is off by up to {largest:.1e}" if beyond else "")


def judge(name: str, folder: Path) -> Result:
    """Runs the checks of folder/NAME; whatever goes wrong becomes the result's reason."""
    kind = "unreadable"
    try:
        fixture, kind = Fixture(name, folder), "unknown"
        known = kind_of(fixture.info)
        kind = known.name
        wrong = lacking(fixture, known) + damaged(fixture, known)
        must, reason = _run(known.check, fixture)
    except Exception as error:  # a damaged fixture can raise anything; the others go on
        return Result(name=name, kind=kind, ok=False, reason=told(error))
    extra, trouble = _run(known.random, fixture) if known.random else ({}, "")
    found = must | extra
    required = [found[array] for array in found if not is_optional(array)]
    unread = [array for array in fixture if array not in fixture.asked]
    unchecked = tuple(array for array in unread if not is_optional(array))
    optional = [found[array].fault for array in found if is_optional(array) and found[array].fault]
    optional += [f"{array} was not checked" for array in unread if is_optional(array)]
    faults = [d.fault for d in sorted(required, key=lambda d: d.rank, reverse=True) if d.fault]
    if reason:
        faults.insert(0, reason)
    elif unchecked:
        faults.append(f"not checked: {listed(unchecked)}")
    elif not required and not wrong:
        faults.append("nothing in it could be checked")
    faults = wrong + faults
    worst = max(required, key=lambda d: d.rank, default=Difference(""))
    return Result(
        name=name,
        kind=kind,
        checked=len(fixture.asked),
        mismatched=sum(d.mismatched for d in required),
        max_error=max((d.error for d in required), default=0.0),
        worst=worst.name if worst.fault or worst.error else "",
        unchecked=unchecked,
        optional_differences=(*optional, *([trouble] if trouble else [])),
        ok=not faults,
        reason=printable(listed(faults, "; ")),
    )


def judge_keys(path: Path) -> Result:
    """Builds the model of a full_keys/NAME.json.gz on the meta device, and compares its state dict's keys."""
    name, kind = f"{path.parent.name}/{path.name.removesuffix('.json.gz')}", "unreadable"
    try:
        info, kind = full_keys(path), "unknown"
        known = kind_of(info)
        kind = f"{known.name} keys"
        with torch.device("meta"):
            model = function(known.build)(info)
        if info.get("n_params") is None:
            raise FixtureError("its json does not say n_params")
        check_keys(model, info["keys"], info["n_params"])
    except Exception as error:
        return Result(name=name, kind=kind, ok=False, reason=told(error))
    return Result(name=name, kind=kind, keys=len(info["keys"]), ok=True)


def _run(target: str, fixture: Fixture) -> tuple[dict[str, Difference], str]:
    """Array -> its difference, the worst where it is compared more than once; and what stopped the check, or ""."""
    found: dict[str, Difference] = {}
    try:
        check: Callable[[Fixture], Iterable[Triple]] = function(target)
        with torch.no_grad():
            for name, got, want in check(fixture):
                new = difference(name, got, want)
                found[name] = max(found.get(name, new), new, key=lambda d: d.rank)
    except Exception as error:
        return found, told(error)
    return found, ""


def told(error: Exception) -> str:
    """The exception's first line, and its type where it is none of ours."""
    kind = "" if isinstance(error, ArdistillError) else f"{type(error).__name__}: "
    return printable(re.sub(r"\s+", " ", kind + message_of(error)))
