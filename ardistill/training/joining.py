"""Joining the processes that torchrun, or a scheduler that speaks its language, has started together.

The environment of each holds RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and maybe LOCAL_WORLD_SIZE. The
group speaks gloo between CPUs and nccl between GPUs.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from ardistill.errors import ArdistillError, ConfigError
from ardistill.training.faults import Interrupted, OtherProcessError, WorldError
from ardistill.training.signals import ignore
from ardistill.training.world import TIMEOUT, World


def world_of(environment: Mapping[str, str], device: str) -> World:
    """What torchrun's variables say of this process. Raises ConfigError where they are no numbers, or lack some."""
    if _number(environment, "WORLD_SIZE", 1) == 1:
        return World(device=device)
    numbers = [_number(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    rank, size, local_rank = numbers
    local_size = _number(environment, "LOCAL_WORLD_SIZE", local_rank + 1)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{local_rank}"
    elif device != "cpu" and local_size > 1:
        raise ConfigError(
            f"device={device} is one GPU, and {local_size} processes are to share this machine; give device=cuda"
        )
    return World(rank, size, local_rank, local_size, device)


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A variable's whole number."""
    text = environment.get(name, default)
    if text is None or not str(text).isdecimal():
        raise ConfigError(
            f"the environment has {name}={text}, and a number was expected; start several processes with torchrun"
        )
    return int(text)


@contextmanager
def joined(device: str, environment: Mapping[str, str] = os.environ) -> Iterator[World]:
    """The world of this process, which it leaves at the end; errors are told with the rank that met them."""
    world = world_of(environment, device)
    if world.size == 1:
        yield world
        return
    with _group(world) as member:
        try:
            yield member
        except Interrupted as error:
            ignore()  # whoever started us ends the others as soon as the first of us leaves
            member.all_here(seconds=10)
            if not member.first:
                raise SystemExit(error.exit_code) from error
            raise
        except ArdistillError as error:
            if isinstance(error, OtherProcessError):
                raise SystemExit(error.exit_code) from error  # one message is enough
            member.fail()
            raise type(error)(f"process {world.rank} of {world.size}: {error}") from error
        except BaseException as error:
            member.fail()
            error.add_note(f"in process {world.rank} of {world.size}")
            raise


@contextmanager
def _group(world: World) -> Iterator[World]:
    cuda = world.device.startswith("cuda")
    try:
        if cuda:
            torch.cuda.set_device(world.device)
        store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=PrefixStore("group", store),
            rank=world.rank,
            world_size=world.size,
            timeout=TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise WorldError(
            f"process {world.rank} of {world.size} can't meet the others ({str(error).splitlines()[0]}); "
            "start them all with torchrun"
        ) from error
    try:
        yield attrs.evolve(world, store=PrefixStore("words", store))
    finally:
        dist.destroy_process_group()
