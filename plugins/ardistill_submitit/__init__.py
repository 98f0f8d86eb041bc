"""`launcher=local` and `launcher=slurm`: runs as jobs of this machine and of Slurm, through submitit."""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import LauncherOffer

ardistill_api = 1


@hookimpl
def ardistill_launchers() -> Iterator[LauncherOffer]:
    yield LauncherOffer(
        name="local",
        summary="a process of its own on this machine, started again when its time is over",
        target="ardistill_submitit.local:Local",
        config="ardistill_submitit.config:LocalConfig",
    )
    yield LauncherOffer(
        name="slurm",
        summary="a job of Slurm, requeued when its time is over or it is pre-empted; a sweep is one array",
        target="ardistill_submitit.slurm:Slurm",
        config="ardistill_submitit.config:SlurmConfig",
    )
