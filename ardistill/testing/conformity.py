"""How a check runs and fails: which one, what was expected, what was found, and the smallest example of it.

A check is a small function of a subject and a `Case`; its docstring's first line is what it expects. Hypothesis looks
for a case that fails, always the same ones, and makes it small.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import attrs
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ardistill.noise import Draw
from ardistill.wording import message_of, printable

LARGEST_BATCH = 4
_LONGEST = 300
"""Characters that a message takes over from an exception."""


class NonConforming(AssertionError):  # noqa: N818 it is a verdict on a plugin
    """A plugin does not do what its protocol promises. The message is one line."""


class Found(Exception):  # noqa: N818 a check ends with it, and only `Check` sees it
    """What was found instead of what was expected."""


def expect(holds: bool, found: str) -> None:
    """Ends the check where what it expects does not hold."""
    if not holds:
        raise Found(found)


@attrs.frozen
class Case:
    """An example: so many images, of this seed's randomness. What `step` counts is the kind's own."""

    batch: int = 3
    seed: int = 0
    step: int = 0

    def own(self, device: torch.device | str = "cpu") -> Draw:
        """The randomness of the arguments that a check makes for the case's images."""
        return Draw(self.seed, "testing/own", 0, self.batch, device)

    def draw(self, device: torch.device | str = "cpu", *, first: int = 0, count: int | None = None) -> Draw:
        """What a plugin is given to draw the case's images with, or `count` of them from `first` on."""
        return Draw(self.seed, "testing", first, self.batch if count is None else count, device)

    def __str__(self) -> str:
        return f"batch={self.batch}, step={self.step}, seed={self.seed}"


def cases(steps: int = 1) -> st.SearchStrategy[Case]:
    """Cases of 1 to 4 images and `step` below `steps`."""
    return st.builds(
        Case,
        batch=st.integers(1, LARGEST_BATCH),
        seed=st.integers(0, 1 << 16),
        step=st.integers(0, steps - 1),
    )


class Subject(Protocol):
    """What is checked, and what the checks need beside it."""

    @property
    def n_steps(self) -> int:
        """How many values a case's `step` may have."""
        ...


S = TypeVar("S", bound=Subject)
S_contra = TypeVar("S_contra", bound=Subject, contravariant=True)


class CheckFunction(Protocol[S_contra]):
    """Raises `Found` where what it expects does not hold."""

    __name__: str

    def __call__(self, subject: S_contra, case: Case, /) -> None: ...


@attrs.frozen
class Check(Generic[S]):
    """One promise. With `examples` 0 a single case is looked at; where a `gate` fails, nothing after it is."""

    function: CheckFunction[S]
    examples: int = 6
    gate: bool = False

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def expected(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or self.name).partition("\n")[0].rstrip(".")

    def __call__(self, subject: S) -> None:
        """Raises NonConforming."""
        failed: list[tuple[Case, Exception]] = []

        def example(case: Case) -> None:
            try:
                self.function(subject, case)
            except Exception as error:
                failed[:] = [(case, error)]  # hypothesis ends with the smallest
                raise

        try:
            if not self.examples:
                example(Case())
            else:
                _searched(example, cases(max(1, subject.n_steps)), self.examples)
        except Exception as error:
            case, reason = failed[0] if failed else (Case(), error)
            found = str(reason) if isinstance(reason, Found) else _raised(reason)
            raise NonConforming(
                f"{self.name}: expected: {self.expected}; found: {found} (smallest example: {case})"
            ) from (None if isinstance(reason, Found) else reason)


def _searched(example: Callable[[Case], None], strategy: st.SearchStrategy[Case], examples: int) -> None:
    """Runs `example` on cases, the same ones every time; ends with the smallest that raises."""
    quiet = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    quiet(given(case=strategy)(example))()


def _raised(error: BaseException) -> str:
    text = printable(message_of(error))[:_LONGEST]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@attrs.frozen
class Outcome:
    """How a check went; `fault` is the message of one that failed."""

    check: str
    fault: str | None = None


def outcomes(checks: Iterable[Check[S]], subject: S) -> Iterator[Outcome]:
    """One after another, up to a gate that fails."""
    for check in checks:
        try:
            check(subject)
        except NonConforming as fault:
            yield Outcome(check.name, str(fault))
            if check.gate:
                return
        else:
            yield Outcome(check.name)


def conform(checks: Sequence[Check[S]], subject: S) -> None:
    """Raises NonConforming at the first check that fails."""
    for check in checks:
        check(subject)


def members(protocol: type) -> list[str]:
    """The public names that a protocol demands."""
    own = [cls for cls in protocol.__mro__ if cls not in (object, Protocol, Generic)]
    names = {name for cls in own for name in [*vars(cls), *inspect.get_annotations(cls)]}
    return sorted(name for name in names if not name.startswith("_"))


def expect_members(thing: object, protocol: type) -> None:
    """Whether `thing` has all that the protocol demands."""
    lacking = [name for name in members(protocol) if not _has(thing, name)]
    expect(not lacking, f"{type(thing).__name__} lacks {', '.join(lacking)}")


def _has(thing: object, name: str) -> bool:
    try:
        getattr(thing, name)
    except AttributeError:
        return False
    return True
