"""Two networks with blocks, and a process that trains them sharded: `main(TASK, FOLDER, word=...)`.

Methods call parts of such networks, gradients flow through a frozen one, and weights have one row, an odd number of
them, or none.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from ardistill.errors import ArdistillError
from ardistill.protocols import Role
from ardistill.training.checkpoint import Checkpoints, restore, restore_optimisers
from ardistill.training.joining import joined
from ardistill.training.optimise import Optimiser
from ardistill.training.sharding import shard
from ardistill.training.shards import local
from ardistill.training.step import Engine
from ardistill.training.whole import Whole
from tests.training.toy import Strike, ToyPhase, train

WIDTH = 15


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.back = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.row, self.single = nn.Parameter(torch.ones(1, WIDTH)), nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return x + self.row * self.back(torch.tanh(self.linear(x))) * self.single


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 3)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.register_buffer("seen", torch.zeros(2))

    def features(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x


class Blocks:
    """Like DD2: `a` is trained through a frozen `b`, and `b` on what `a` makes."""

    def __init__(self, strike=lambda draw: 1.0):
        self.strike, self.parts = strike, False
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.modules = {name: Network() for name in ("a", "b", "mean")}
        self.modules["b"].requires_grad_(False)

    def student(self):
        return self.modules["mean"]

    def phases(self):
        a = Role(self.modules["a"], lr=0.01, warmup=40, decay=0.1, clip=0.05, average=self.modules["mean"])
        b = Role(self.modules["b"], lr=0.005)
        return (
            ToyPhase("one", 128, 8, {"a": a}, self.losses, self.begin),
            ToyPhase("two", 96, 6, {"a": a, "b": b}, self.losses),
        )

    def begin(self):
        self.modules["mean"].load_state_dict(self.modules["a"].state_dict())

    def losses(self, role, draw):
        a, b, x = self.modules["a"], self.modules["b"], draw.normal("x", 3)
        with torch.set_grad_enabled(role == "a"):
            y = a.head(a.features(x))
        if self.parts:
            y = a.head(a.blocks[0].back(a.blocks[0].linear(a.embed(x))))
        gap = b.head(b.features(y) + b.features(-y)) - (draw.uniform("u", 3) if role == "a" else x)
        return {"fit": gap.square().mean() * self.strike(draw), "size": 0.01 * y.abs().mean()}


def at_file(part, act):
    """`act` when a file whose name holds `part` is opened to be written, in the second checkpoint."""

    def hook(event, args):
        path = str(args[0]) if event == "open" and args[1] == "w" else ""
        if part in path and "000000000064-one" in path:
            act()

    sys.addaudithook(hook)


def refuse():
    raise PermissionError(13, "Permission denied")


def engine_of(world, words):
    micro = int(words.pop("micro_batch", 0))
    flags = {name: words.pop(name, "") == "true" for name in ("compile", "checkpointing")}
    return Engine(world, words.pop("precision", "fp32"), micro, parallel="fsdp", **flags)


def train_sharded(world, folder, words):
    engine, rank = engine_of(world, words), int(words.get("rank", "0"))
    if world.rank == rank and "kill_at" in words:
        at_file(words["kill_at"], lambda: os.kill(os.getpid(), signal.SIGKILL))
    if world.rank == rank and "refuse_at" in words:
        at_file(words["refuse_at"], refuse)
    toy = Blocks(Strike(words.get("fault", "none"), rank))
    toy.parts = words.get("parts") == "true"
    whole = Whole(toy.student(), toy.modules, world)
    seen = []
    words = {"on_checkpoint": seen.append, "showing": whole.shown}
    train(toy, folder, engine, watch=lambda *_: seen.append("watched"), watch_every=100, **words)
    held = {name: sum(each.numel() for each in local(m.parameters())) for name, m in toy.modules.items()}
    shown = {}
    with whole.shown():
        if world.first:
            shown = {key: value.tolist() for key, value in whole.student.state_dict().items()}
    left = sum(each.numel() for each in whole.student.parameters())
    told = {"held": held, "shown": shown, "left": left, "seen": seen}
    (folder / f"told-{world.rank}.json").write_text(json.dumps(told))


def convert(world, folder, words):
    """Reads the newest checkpoint of another folder, and writes what was read."""
    toy, source = Blocks(), Checkpoints(Path(words["source"]))
    for module in toy.modules.values():
        for weight in module.parameters():
            nn.init.constant_(weight, 7.0)
    path, position = source.latest()
    shard(toy.modules, world)
    restore(path, toy.modules)
    roles = toy.phases()[-1].roles
    optimisers = {name: Optimiser(role, None, world) for name, role in roles.items()}
    restore_optimisers(path, position, optimisers)
    Checkpoints(folder).save_together(position, toy.modules, optimisers, world)


def main(task, folder, *words):
    words = dict(word.split("=", 1) for word in words)
    try:
        with joined("cpu") as world:
            {"train": train_sharded, "convert": convert}[task](world, Path(folder), words)
    except ArdistillError as error:
        print(f"ardistill: {error}", file=sys.stderr)
        return error.exit_code
    return 0
