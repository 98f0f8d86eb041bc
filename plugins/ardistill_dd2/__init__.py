"""DD2: one-step distillation of an AR model by conditional score distillation (arXiv 2510.21003)."""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import MethodOffer, StudentOffer, TrajectoryOffer

ardistill_api = 1


@hookimpl
def ardistill_methods() -> Iterator[MethodOffer]:
    yield MethodOffer(
        name="dd2",
        summary="conditional score distillation into one step (DD2, arXiv 2510.21003)",
        target="ardistill_dd2.method:DD2",
        config="ardistill_dd2.config:DD2Config",
        needs=frozenset({"prefix"}),
    )


@hookimpl
def ardistill_students() -> Iterator[StudentOffer]:
    yield StudentOffer(
        name="dd2",
        summary="causal trunk and AdaLN-MLP head, one pass from noise",
        target="ardistill_dd2.student:rebuild",
        config="ardistill_dd2.config:DD2StudentSettings",
    )


@hookimpl
def ardistill_trajectories() -> Iterator[TrajectoryOffer]:
    yield TrajectoryOffer(
        name="ancestral",
        summary="plain teacher samples; the noise is independent of them",
        target="ardistill_dd2.tuning:ancestral",
    )
