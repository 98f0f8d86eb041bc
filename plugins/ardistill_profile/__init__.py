"""`callbacks=profile`: where the time of a few training steps goes, as a trace."""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import CallbackOffer

ardistill_api = 1


@hookimpl
def ardistill_callbacks() -> Iterator[CallbackOffer]:
    yield CallbackOffer(
        name="profile",
        summary="a trace of a few updates for Perfetto or chrome://tracing, and a table of the dearest operators",
        target="ardistill_profile.callback:Profile",
        config="ardistill_profile.config:ProfileConfig",
    )
