"""DD1's baselines as methods without training, so that they can be run, sampled and judged like any other."""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import MethodOffer, StudentOffer

ardistill_api = 1


@hookimpl
def ardistill_methods() -> Iterator[MethodOffer]:
    yield MethodOffer(
        name="onestep*",
        summary="baseline: every token on its own, from its class's and position's frequencies",
        target="ardistill_baselines.method:onestep",
        config="ardistill_baselines.config:OneStepConfig",
    )
    yield MethodOffer(
        name="skip-n",
        summary="baseline: the teacher's steps but the last n, and those in parallel from frequencies",
        target="ardistill_baselines.method:skip",
        config="ardistill_baselines.config:SkipConfig",
    )


@hookimpl
def ardistill_students() -> Iterator[StudentOffer]:
    for name in ("onestep*", "skip-n"):
        yield StudentOffer(
            name=name,
            summary=f"the token frequencies of a run of {name}",
            target="ardistill_baselines.method:rebuild",
            config="ardistill_baselines.config:FrequenciesSettings",
        )
