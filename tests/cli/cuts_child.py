"""A process that runs `ardistill` again and again, and is killed where it is told to be.

It imports once and forks for each line of JSON that it reads: {"words": [...], "log": FILE, "cut": [update, place]}.
The fork runs `ardistill WORDS`. Its `update`-th update of training, from 1, is the one that is cut:

    "gradients"    before the optimiser's step
    "moved"        after it, before the loop knows of it
    "counted"      when the loop knows of it, before it records or saves anything
    a number       before so manieth operation on the checkpoints' files from there on

and where that is not reached, when training has ended. Each is SIGKILL of the process itself. A line of JSON says how
the fork ended: a signal's number, negative, or its exit code.
"""

import json
import os
import signal
import sys

from ardistill.__main__ import main
from ardistill.cli.run import discover
from ardistill.launch import checking, distil  # noqa: F401  # what takes the time
from ardistill.training.loop import Trainer
from ardistill.training.optimise import Optimiser
from ardistill.training.step import Step

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir"}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Cut:
    """Wraps the places at which this process may be told to die."""

    def __init__(self, update, place):
        self.update, self.place = update, place
        self.begun = 0
        self.files = None  # operations left, once they count
        for cls, name, wrapped in (
            (Step, "__call__", self.step),
            (Optimiser, "step", self.optimise),
            (Trainer, "run", self.train),
        ):
            setattr(cls, name, wrapped(getattr(cls, name)))
        sys.addaudithook(self.file)

    def at(self, place):
        if self.begun == self.update and self.place == place:
            die()

    def step(self, call):
        def wrapper(*words, **more):
            self.begun += 1
            done = call(*words, **more)
            self.at("counted")
            if self.begun == self.update and isinstance(self.place, int):
                self.files = self.place
            return done

        return wrapper

    def optimise(self, call):
        def wrapper(*words, **more):
            self.at("gradients")
            done = call(*words, **more)
            self.at("moved")
            return done

        return wrapper

    def train(self, call):
        def wrapper(*words, **more):
            done = call(*words, **more)
            die()
            return done

        return wrapper

    def file(self, event, words):
        if self.files is not None and event in OPERATIONS and "/checkpoints" in str(words[0]):
            self.files -= 1
            if self.files < 0:
                die()


def run(task):
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    if task["cut"] is not None:
        Cut(*task["cut"])
    return main(task["words"])


def serve():
    registry = discover()
    for kind, name in (("method", "dd1"), ("method", "dd2"), ("teacher", "var")):
        registry.load(kind, name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = run(json.loads(line))
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    serve()
