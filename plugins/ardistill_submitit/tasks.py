"""A job of several tasks as the processes of one training: submitit's variables told as torchrun tells them."""

import os
import zlib
from collections.abc import Mapping

import attrs

_FIRST_PORT, _PORTS = 10_000, 20_000
"""Below those that a kernel gives to outgoing connections."""


@attrs.frozen
class Task:
    """One process of a job: its ranks, and where the first of them is met."""

    job: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    host: str

    @classmethod
    def here(cls) -> "Task":
        """The present process, which submitit has started."""
        from submitit import JobEnvironment

        told = JobEnvironment()
        alone = told.num_nodes == 1  # whose name need not resolve
        return cls(
            told.job_id,
            told.global_rank,
            told.num_tasks,
            told.local_rank,
            told.num_tasks // told.num_nodes,
            "127.0.0.1" if alone else told.hostnames[0],
        )

    def variables(self) -> Mapping[str, str]:
        """What torch.distributed reads; nothing for a process that is alone. A port for each job."""
        if self.size == 1:
            return {}
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(_FIRST_PORT + zlib.crc32(self.job.encode()) % _PORTS),
        }

    def export(self) -> None:
        """Into the environment, whatever a process that submitted the job had there."""
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
        os.environ.update(self.variables())
