"""What a job does: `run resume=DIR`, as often as it takes."""

import sys
from pathlib import Path

import attrs

from ardistill.launch.remote.traces import tell_failure


@attrs.frozen
class Resume:
    """Goes on with a run (`ardistill.launchers.Work`). It holds nothing but the folder: all is there."""

    folder: Path

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "ardistill", "run", f"resume={self.folder}")

    def __call__(self) -> None:
        from ardistill.cli.run import resume

        resume(self.folder)

    def failed(self, error: Exception) -> None:
        tell_failure(self.folder, error)
