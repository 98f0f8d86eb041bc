"""Handing runs to jobs of their own, for `run` and `sweep`, and waiting for them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import RunConfig, Section, dump_toml
from ardistill.errors import LaunchError
from ardistill.launch import folder as folders
from ardistill.launch.remote import state, traces
from ardistill.launch.remote.submitting import opened, submit
from ardistill.launch.remote.traces import Launch
from ardistill.plugins import Registry


def hand_over(config: RunConfig, out: Path, registry: Registry, *, new: bool) -> int:
    """One run to one job. Raises LaunchError where the job is waited for, and fails."""
    launcher = config.launcher
    if not new:
        (stands,) = state.states([out], registry)
        if stands.word not in state.TO_RESUME:
            raise LaunchError(
                f"{out} is {stands.word} already{_aside(stands)}; look at it with: {_look(out)}"
            )
    check([(config, out)], registry)
    if new:
        folders.create(out, dump_toml(config))
    (launch,) = hand([out], launcher, registry, out / "launch", folders.safe_name(out.name))
    log = f"; its log: {launch.log}" if launch.log else ""
    print(f"{out}\njob {launch.job}{log}\nlook at it with: {_look(out)}", flush=True)
    if launcher.settings.wait:
        (stands,) = ended([out], launcher, registry)
        if stands.word != state.FINISHED:
            again = f"run resume={out} launcher={launcher.name}"
            raise LaunchError(f"{out}: {stands.word}{_aside(stands)}; go on with: {again}")
        from ardistill.cli.run import resume, show

        show(out, resume(out))
    return 0


def hand(
    runs: Sequence[Path], launcher: Section, registry: Registry, logs: Path, name: str
) -> Iterator[Launch]:
    """Submits a job for each folder, which notes its own as soon as it is handed over."""
    from ardistill.cli.submitted import Resume

    launches = submit([Resume(run) for run in runs], launcher, registry, logs, name)
    for run, launch in zip(runs, launches, strict=True):
        (run / traces.FAILURE).unlink(missing_ok=True)
        traces.write(run, traces.LAUNCH, launch)
        yield launch


def ended(runs: Sequence[Path], launcher: Section, registry: Registry) -> list[state.State]:
    """Waits until each run is finished or failed, and tells which."""
    return state.ended(runs, registry, pause=opened(launcher, registry).pause)


def check(runs: Sequence[tuple[RunConfig, Path]], registry: Registry) -> None:
    """Refuses what can't work, each configuration once whatever its seed."""
    asked = [(config, out) for config, out in runs if config.launcher.settings.check]
    if not asked:
        return  # and torch, which takes seconds to import, stays out of it
    from ardistill.launch.checking import alike, check
    from ardistill.weights import reporting

    seen: set[str] = set()
    for config, out in asked:
        if (kind := alike(config)) not in seen:
            seen.add(kind)
            with shown_progress() as progress, reporting(progress):
                check(config, out, registry, progress)


def _aside(stands: state.State) -> str:
    return f" ({stands.note})" if stands.note else ""


def _look(out: Path) -> str:
    return f"python -m ardistill sweep status {out}"
