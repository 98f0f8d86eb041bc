"""The words of `launcher.` that the core reads itself; those of a launcher stand beside them. No torch here."""

import attrs

from ardistill.config.section import Family


@attrs.frozen
class HereConfig:
    """In this process, the cells of a sweep one after another."""

    check: bool = True
    """Load the models of a sweep's cells before the first one runs, on the CPU, to refuse what can't work."""


@attrs.frozen
class LauncherConfig:
    """What every launcher with jobs of its own is told. A plugin's settings derive from this class."""

    wait: bool = False
    """Stay until the run has ended, and show its table."""
    check: bool = True
    """Load the models here once before the job is handed over, on the CPU, to refuse what can't work."""


HERE = "here"
LAUNCHERS = Family({HERE: HereConfig}, LauncherConfig)
