"""Trajectories first, the distribution after: what DD1 and DD2 each do best, in one method."""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import MethodOffer, StudentOffer

ardistill_api = 1


@hookimpl
def ardistill_methods() -> Iterator[MethodOffer]:
    yield MethodOffer(
        name="joint",
        summary="DD1's trajectories, then DD2's guidance: distributions of tokens, drawn by the flow",
        target="ardistill_joint.method:Joint",
        config="ardistill_joint.config:JointConfig",
        needs=frozenset({"own", "prefix"}),
    )


@hookimpl
def ardistill_students() -> Iterator[StudentOffer]:
    yield StudentOffer(
        name="joint",
        summary="distributions of all tokens in one pass, and the flow that draws them from the noise",
        target="ardistill_joint.student:rebuild",
        config="ardistill_joint.config:JointStudentSettings",
    )
