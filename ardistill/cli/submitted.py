"""What a job of `launcher=local` or `launcher=slurm` does: `run resume=DIR`, and again after a time-out.

submitit has one process of a job called back on SIGUSR2, which comes before a time limit or a pre-emption, at whatever
line it stands. While training, the loop listens to the signal itself: all processes save at the end of their step, and
submitit's handler is called only then, to have the job requeued. At any other time the handler acts at once, and the
next life goes on from the last checkpoint. SIGTERM is how a job is cancelled, and how one is told of pre-emption that
was told of its end before, or where Slurm is not set up to send SIGUSR2: only the queue knows which of them it was.
"""

import signal
import sys
from pathlib import Path

import attrs

from ardistill.cli.run import resume
from ardistill.errors import ArdistillError
from ardistill.launch.remote.queue import making_room
from ardistill.launch.remote.submitting import HELD
from ardistill.launch.remote.tasks import Task
from ardistill.launch.remote.traces import INTERRUPTED, failure_told
from ardistill.wording import printable


@attrs.frozen
class Resume:
    """Goes on with a run, in a process that submitit has started. It holds nothing: all is in the folder."""

    def __call__(self, folder: Path) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)  # submitit's handlers are there by now
        requeue = signal.getsignal(signal.SIGUSR2)
        task = Task.here()
        task.export()
        try:
            resume(folder)
        except ArdistillError as error:
            if error.exit_code != INTERRUPTED:
                raise
            print(f"ardistill: {printable(str(error))}", file=sys.stderr, flush=True)
            told = str(error).startswith(f"stopped by {signal.SIGUSR2.name} ")
            if not (told or making_room(task.job)):
                sys.exit(INTERRUPTED)
            if task.rank == 0 and callable(requeue):
                with failure_told(folder):
                    requeue(signal.SIGUSR2, None)  # leaves, or raises where this was the last time
            sys.exit(0)
        except SystemExit as left:
            if left.code != INTERRUPTED or task.rank == 0:
                raise
            sys.exit(0)  # another code would have the first process ended before it has asked to be requeued

    def checkpoint(self, folder: Path) -> object:
        """Nothing is saved here, where any line may stand half done: a run goes on from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder)
