"""A method small enough to check by hand, and a process that trains it: `python toy.py FOLDER [fault=...] [rank=...]`.

Two linear maps chase one another through two phases. A fault strikes at a given call of the losses, in one process.
"""

import os
import signal
import sys
from pathlib import Path

import attrs
import torch
from torch import nn

from ardistill.errors import ArdistillError
from ardistill.protocols import Role
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.joining import joined
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer
from ardistill.training.step import Engine


@attrs.frozen(eq=False)
class ToyPhase:
    name: str
    images: int
    batch: int
    roles: dict
    losses: object
    begin: object = lambda: None

    def role(self, update):
        return "b" if len(self.roles) > 1 and update % 3 == 2 else "a"


class Toy:
    def __init__(self, strike=lambda draw: 1.0):
        self.strike = strike
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.modules = {name: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for name in "ab"}
            self.modules["mean"] = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))

    def phases(self):
        a = Role(self.modules["a"], lr=0.05, warmup=40, decay=0.1, average=self.modules["mean"])
        b = Role(self.modules["b"], lr=0.02)
        return (
            ToyPhase("one", 160, 8, {"a": a}, self.losses),
            ToyPhase("two", 144, 6, {"a": a, "b": b}, self.losses),
        )

    def losses(self, role, draw):
        x = draw.normal("x", 3)
        other = self.modules["b" if role == "a" else "a"](x)
        gap = self.modules[role](x) - other.detach() - draw.uniform("u", 2)
        return {"fit": gap.square().mean() * self.strike(draw), "size": 0.01 * gap.abs().mean()}


class Silent:
    def advance(self, done, total, what):
        pass


def train(toy, folder, engine=None, every=30, **more):
    """Trains `toy` in a run folder, from wherever that stands; the weights at the end."""
    engine = engine or Engine()
    folder.mkdir(exist_ok=True)
    checkpoints = Checkpoints(folder / "checkpoints")
    journal = None
    if engine.world.first:
        found = checkpoints.latest()
        journal = Journal(folder, found[1].total_images if found else 0)
    try:
        Trainer(
            toy, 5, torch.device("cpu"), checkpoints, every, journal, Silent(), engine=engine, **more
        ).run()
    finally:
        if journal:
            journal.close()
    return weights(toy)


def weights(toy):
    return {f"{n}.{k}": v.clone() for n, m in toy.modules.items() for k, v in m.state_dict().items()}


class Strike:
    """A fault at the losses' 12th call, in the process `rank`."""

    def __init__(self, fault, rank):
        self.fault, self.calls = fault, 0
        self.here = int(os.environ.get("RANK", "0")) == rank

    def __call__(self, draw):
        self.calls += 1
        if self.calls != 12 or not self.here:
            return 1.0
        if self.fault == "nan":
            return float("nan")
        if self.fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.fault == "defect":
            raise ZeroDivisionError("a defect")
        if self.fault in ("SIGKILL", "SIGTERM", "SIGINT", "SIGUSR2"):
            os.kill(os.getpid(), getattr(signal, self.fault))
        return 1.0


def main(folder, fault="none", rank="0"):
    try:
        with joined("cpu") as world:
            train(Toy(Strike(fault, int(rank))), Path(folder), Engine(world))
    except ArdistillError as error:
        print(f"ardistill: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(word.partition("=")[2] for word in sys.argv[2:])))
