"""What submitit runs in a job's processes, and has started again after a time-out or a pre-emption.

submitit has one process of a job called back on SIGUSR2, which comes before a time limit or a pre-emption, at whatever
line it stands. While training, the loop listens to the signal itself: all processes save at the end of their step, and
submitit's handler is called only then, to have the job requeued. At any other time the handler acts at once, and the
next life goes on from the last checkpoint. SIGTERM is how a job is cancelled, and how one is told of pre-emption that
was told of its end before, or where Slurm is not set up to send SIGUSR2: only the queue knows which of them it was.
"""

import signal
import sys

from ardistill.errors import ArdistillError
from ardistill.launchers import INTERRUPTED, Work
from ardistill.wording import printable
from ardistill_submitit.queue import making_room
from ardistill_submitit.tasks import Task

HELD = (signal.SIGUSR2, signal.SIGTERM)
"""Signals that a task of Slurm's begins with held back."""


class Requeued:
    """Does a run's work, which it is called with. submitit pickles both."""

    def __call__(self, work: Work) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)  # submitit's handlers are there by now
        requeue = signal.getsignal(signal.SIGUSR2)
        task = Task.here()
        task.export()
        try:
            work()
        except ArdistillError as error:
            if error.exit_code != INTERRUPTED:
                raise
            print(f"ardistill: {printable(str(error))}", file=sys.stderr, flush=True)
            told = str(error).startswith(f"stopped by {signal.SIGUSR2.name} ")
            if not (told or making_room(task.job)):
                sys.exit(INTERRUPTED)
            if task.rank == 0 and callable(requeue):
                try:
                    requeue(signal.SIGUSR2, None)  # leaves, or raises where this was the last time
                except Exception as last:
                    work.failed(last)
                    raise
            sys.exit(0)
        except SystemExit as left:
            if left.code != INTERRUPTED or task.rank == 0:
                raise
            sys.exit(0)  # another code would have the first process ended before it has asked to be requeued

    def checkpoint(self, work: Work) -> object:
        """Nothing is saved here, where any line may stand half done: a run goes on from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, work)
