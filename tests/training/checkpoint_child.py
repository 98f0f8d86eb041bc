"""A process that saves checkpoints and is killed, or finds no room; and what it saved, told by a number.

    python checkpoint_child.py FOLDER TASK:sync|async ...

    operations   killed at every file operation, one after the other
    bytes        killed by the system inside every write
    times        killed at moments 5 ms apart
    full         saves until the folder has no room
    readonly     saves, then may no longer write
    unreadable   saves, then may no longer read
    leave        saves, and leaves without waiting for what is under way

It imports torch once and forks for each task and each kill. Lines of JSON say what was found after each.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ardistill.errors import ArdistillError
from ardistill.protocols import Role
from ardistill.training.checkpoint import Checkpoints, Position, restore, restore_optimisers
from ardistill.training.optimise import Optimiser

SAVES = 2
OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
WITHIN = {"os.remove", "os.rmdir"}  # of a folder that is cleared, whose entries go by their last names


def made(number, width=40):
    """The position, modules and optimisers of the save of that number: always the same tensors."""
    module = nn.Linear(width, width)
    average = nn.Linear(width, width)
    with torch.no_grad():
        for parameter in (*module.parameters(), *average.parameters()):
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) + 0.1 * number)
    optimiser = Optimiser(Role(module, lr=0.1))
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 1.0 + number)
    optimiser.step(0, 10)
    position = Position("one", 8 * number, number, {"a": 1}, {"one": 0.5 * number}, 8 * number)
    return position, {"a": module, "mean": average}, {"a": optimiser}


def same_as_saved(path, position, number):
    """Whether what a checkpoint gives back is, bit for bit, what was saved."""
    wanted, modules, optimisers = made(number)
    _, others, fresh = made(number + 100)
    restore(path, others)
    restore_optimisers(path, position, fresh)
    states = {name: module.state_dict() for name, module in modules.items()}
    again = {name: module.state_dict() for name, module in others.items()}
    return (
        position == wanted
        and all(value.equal(again[name][key]) for name in states for key, value in states[name].items())
        and all(value.equal(fresh["a"].state()[key]) for key, value in optimisers["a"].state().items())
        and load_file(path / "optimisers.safetensors").keys() == {f"a.{key}" for key in fresh["a"].state()}
    )


def saved(folder, count, **words):
    checkpoints = Checkpoints(folder, **words)
    for number in range(1, count + 1):
        checkpoints.save(*made(number, width=6))
    checkpoints.close()
    return checkpoints


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def checkpoints_of(folder, how):
    return Checkpoints(folder, keep=1, asynchronous=how == "async")


def save_all(folder, how, told, count=SAVES):
    """Saves, and tells the number of each that is committed."""
    with checkpoints_of(folder, how) as checkpoints:
        for number in range(1, count + 1):
            checkpoints.save(*made(number))
            if how == "async":
                checkpoints.wait()
            os.write(told, bytes([number]))


def die_at(operation, folder):
    """SIGKILL before the operation of that number on a file below `folder`."""
    left = operation

    def hook(event, args):
        nonlocal left
        if event in OPERATIONS and (str(args[0]).startswith(str(folder)) or event in WITHIN):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def die_inside(opening, share, folder):
    """Death within the write to the file that is opened as that number: the system allows no more bytes."""
    left = opening
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sizes = {"modules": 13_000, "optimisers": 13_000, "state": 200, "manifest": 400}

    def hook(event, args):
        nonlocal left
        if event == "open" and args[1] in ("w", "wb") and str(args[0]).startswith(str(folder)):
            left -= 1
            if left == 0:
                size = sizes[Path(args[0]).name[1:].partition(".")[0]]
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * share), resource.RLIM_INFINITY))

    sys.addaudithook(hook)


def killed(folder, how, prepare, after=None, count=SAVES):
    """What is found once a process that saves is dead; None where nothing killed it."""
    shutil.rmtree(folder, ignore_errors=True)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        prepare()
        save_all(folder, how, tell, count)
        os._exit(0)
    os.close(tell)
    if after is not None:
        os.read(told, 1)  # the first is there
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(told, "rb") as pipe:
        committed = pipe.read()
    if os.WIFEXITED(status):
        return {"committed": None} if os.WEXITSTATUS(status) == 0 else {"committed": "it failed"}
    committed = committed[-1] if committed else int(after is not None)
    return {"committed": committed, **looked_at(folder)}


def looked_at(folder):
    """What is the latest, whether it is what was saved, and whether a later save clears away what lies about."""
    checkpoints = checkpoints_of(folder, "sync")
    found = checkpoints.latest()
    number = 0 if found is None else found[1].update
    same = found is None or same_as_saved(*found, number)
    checkpoints.save(*made(number + 1))
    after = checkpoints.latest()
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return {"found": number, "same": same, "after": after[1].update - number, "left": left}


def tell(**what):
    os.write(1, json.dumps(what).encode() + b"\n")


def until_refused(folder, how, spoil):
    """Saves until a save is refused, spoiling after each; then says what was said and what is there."""
    number = 0
    checkpoints = Checkpoints(folder, keep=1000, asynchronous=how == "async")
    try:
        while number < 200:
            checkpoints.save(*made(number + 1))
            checkpoints.wait()
            number += 1
            spoil(number)
    except ArdistillError as error:
        found = checkpoints.latest()
        hidden = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        tell(
            said=str(error),
            code=error.exit_code,
            committed=number,
            found=found[1].update,
            same=same_as_saved(*found, number),
            count=len(list(folder.iterdir())),
            hidden=hidden,
        )
    return number, checkpoints


def become_nobody():
    if os.geteuid() == 0:
        os.seteuid(65534)  # root may read and write anything


def run(task, folder, how):
    if task == "operations":
        found, operation = {"committed": 0}, 0
        while isinstance(found["committed"], int):
            operation += 1
            found = killed(folder, how, lambda at=operation: die_at(at, folder))
            tell(**found)
    elif task == "bytes":
        for opening in range(1, 4 * SAVES + 1):
            for share in (0.3, 0.9):
                tell(**killed(folder, how, lambda at=opening, part=share: die_inside(at, part, folder)))
    elif task == "times":
        for after in range(0, 60, 5):
            tell(**killed(folder, how, lambda: None, after=after / 1000, count=250))
    elif task == "full":
        number, checkpoints = until_refused(folder, how, lambda number: None)
        shutil.rmtree(min(folder.iterdir()))
        checkpoints.save(*made(number + 1))
        tell(after=checkpoints.latest()[1].update - number)
    elif task == "readonly":

        def spoil(number):
            if number == 2:
                for path in (folder, folder.parent):
                    path.chmod(0o555)
                become_nobody()

        until_refused(folder, how, spoil)
    elif task == "leave":
        sys.addaudithook(slow)
        checkpoints_of(folder, how).save(*made(1))
    elif task == "unreadable":
        checkpoints = checkpoints_of(folder, how)
        checkpoints.save(*made(1))
        checkpoints.close()
        (next(folder.iterdir()) / "modules.safetensors").chmod(0)
        become_nobody()
        try:
            checkpoints.latest()
        except ArdistillError as error:
            tell(said=str(error), code=error.exit_code, there=len(list(folder.iterdir())))


def slow(event, args):
    if event == "open" and args[1] == "w":
        time.sleep(0.2)


def main(base, *tasks):
    torch.set_num_threads(1)
    for task in tasks:
        tell(task=task)
        child = os.fork()
        if child == 0:
            run(task.partition(":")[0], Path(base) / task / "checkpoints", task.partition(":")[2])
            return
        if os.waitpid(child, 0)[1]:
            sys.exit(1)
        if task.startswith("leave"):
            tell(**looked_at(Path(base) / task / "checkpoints"))


if __name__ == "__main__":
    main(*sys.argv[1:])
