"""DD1: few-step distillation of an AR model by flow matching (Distilled Decoding 1, arXiv 2412.17153)."""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import MethodOffer, TrajectoryOffer

ardistill_api = 1


@hookimpl
def ardistill_methods() -> Iterator[MethodOffer]:
    yield MethodOffer(
        name="dd1",
        summary="flow-matching distillation into one step or a few (DD1, arXiv 2412.17153)",
        target="ardistill_dd1.method:DD1",
        config="ardistill_dd1.config:DD1Config",
        needs=frozenset({"own"}),
    )


@hookimpl
def ardistill_trajectories() -> Iterator[TrajectoryOffer]:
    yield TrajectoryOffer(
        name="flow-matching",
        summary="noise carried to tokens by the probability flow, step by step",
        target="ardistill_dd1.pairing:flow_matching",
        config="ardistill_dd1.config:FlowSettings",
        of_noise=True,
    )
