"""Trajectories first, scores after: what DD1 and DD2 each do best, in one method."""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import MethodOffer

ardistill_api = 1


@hookimpl
def ardistill_methods() -> Iterator[MethodOffer]:
    yield MethodOffer(
        name="joint",
        summary="DD1's student, taught on by DD2's conditional scores through its own codes",
        target="ardistill_joint.method:Joint",
        config="ardistill_joint.config:JointConfig",
        needs=frozenset({"own", "prefix"}),
    )
