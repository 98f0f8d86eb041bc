"""Several real processes that train together, started as torchrun or a scheduler starts them."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

TOY = Path(__file__).with_name("toy.py")


def group(size, *words):
    """`size` processes of the toy, each with torchrun's variables: (exit codes, what each said), all ended."""
    started = start(size, [sys.executable, "-W", "ignore", str(TOY), *words])
    return finish(started)


def start(size, command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **{k: str(v) for k, v in told.items()}, "RANK": str(r), "LOCAL_RANK": str(r)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(size)
    ]


def finish(started, seconds=120):
    """Waits for all; none may be left hanging."""
    deadline = time.monotonic() + seconds
    try:
        said = [each.communicate(timeout=deadline - time.monotonic())[1] for each in started]
    finally:
        for each in started:
            each.kill()
    return [each.returncode for each in started], said


def torchrun(size, words):
    """The command line through the real torchrun: (exit code, what all said)."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={size}", "--standalone"]
    done = subprocess.run(
        [*command, "-m", "ardistill", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stderr
