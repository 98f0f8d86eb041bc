"""A Slurm of one node, for tests: munged, slurmctld and slurmd as child processes, all in one temporary folder.

    with Cluster() as cluster:
        job = cluster.submit("--ntasks=2", "--wrap=srun hostname")
        cluster.wait(job, "COMPLETED")

It needs Debian's packages slurmctld, slurmd, slurm-client and munge, and root, as slurmd starts jobs as their owners.
It needs neither systemd nor cgroups nor a host name that resolves, writes to nothing outside its folder, and listens on
127.0.0.1 alone. The node is called localhost, so that what a job finds in SLURM_JOB_NODELIST can be dialled. It claims
eight CPUs and two GPUs whatever the machine has; the GPUs only set CUDA_VISIBLE_DEVICES.

There is no accounting: sacct fails, and states come from squeue and scontrol, which forget no job here.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CLIENTS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
DAEMONS = ("munged", "slurmctld", "slurmd")
ADMIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where the daemons are, and users' PATH is not

# cred_expire is also how long a requeued job waits; less than 5 counts as 120. The scheduler looks every second.
# A preempted job gets the signal it asked for, and GraceTime to leave. KillWait is from SIGTERM to SIGKILL.
CONF = """\
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={controller}
SlurmdPort={node}
{only_there}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed
ProctrackType=proctrack/linuxproc
MailProg=/bin/true
PropagateResourceLimits=NONE
ReturnToService=1
MinJobAge=86400
JobRequeue=1
KillWait=4
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=localhost NodeAddr={address} CPUs=8 RealMemory=65536 Gres=gpu:2 Feature=loopback
PartitionName=main Nodes=localhost Default=YES PriorityTier=1 GraceTime=10 MaxTime=UNLIMITED DefaultTime=10
PartitionName=urgent Nodes=localhost PriorityTier=2 PreemptMode=OFF MaxTime=UNLIMITED DefaultTime=10
"""


class ClusterError(RuntimeError):
    """A daemon did not come up, a client failed, or a job did not become what was waited for."""


def lacking() -> str | None:
    """Why no cluster can be had here, or None."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *ADMIN])
    absent = [name for name in CLIENTS + DAEMONS if shutil.which(name, path=path) is None]
    if absent:
        return f"{', '.join(absent)} not found: apt-get install slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "munged and slurmd are started by root only"


class Cluster:
    """Starts at once and is idle when the constructor returns; `close`, or the end of `with`, kills all of it.

    env: the environment for clients, SLURM_CONF among it, and nothing of a Slurm the tests themselves may run under.
    """

    def __init__(self, seconds: float = 60) -> None:
        """seconds: how long the daemons may take to come up. Raises ClusterError with the ends of their logs."""
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        conf = self.folder / "slurm.conf"
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH", "SRUN", "SUBMITIT"))
        }
        path = os.pathsep.join([inherited.get("PATH", os.defpath), *ADMIN])
        self.env = inherited | {"SLURM_CONF": str(conf), "PATH": path}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._write(conf)
            self._start(time.monotonic() + seconds)
        except BaseException:
            self.close()
            raise

    def _write(self, conf: Path) -> None:
        controller, node = free_ports(2)
        host = socket.gethostname().partition(".")[0]
        address, only_there = listening(host)
        conf.write_text(
            CONF.format(
                host=host,
                address=address,
                only_there=only_there,
                controller=controller,
                node=node,
                folder=self.folder,
            )
        )
        version = self.run("slurmd", "-V").split()[-1].split(".")
        # before 24.05 there is no "disabled", and of the others v1 is the one that touches nothing unless asked to
        plugin = "disabled" if (int(version[0]), int(version[1])) >= (24, 5) else "cgroup/v1"
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-1]\n")
        for gpu, device in (("gpu0", "/dev/null"), ("gpu1", "/dev/zero")):  # any two devices will do
            (self.folder / gpu).symlink_to(device)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))

    def _start(self, deadline: float) -> None:
        own = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed")]
        socket_file = self.folder / "munge.socket"
        # munged is forced since it would have others trust a folder only when all on its path are locked
        self._daemon("munged", "--foreground", "--force", f"--socket={socket_file}", *own)
        self._until(socket_file.exists, deadline, "munged made no socket")
        self._daemon("slurmctld", "-D", "-f", self.env["SLURM_CONF"])
        self._daemon("slurmd", "-D", "-f", self.env["SLURM_CONF"], "-N", "localhost")
        self._until(lambda: self.node() == "idle", deadline, "the node did not become idle")

    def _daemon(self, name: str, *words: str) -> None:
        """Starts one in the foreground, to die with this process, and out of reach of the terminal's Ctrl-C."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", name, *words],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _until(self, happens, deadline: float, otherwise: str) -> None:
        while not happens():
            ended = [
                f"{name} ended with code {daemon.poll()}"
                for name, daemon in self.daemons.items()
                if daemon.poll() is not None
            ]
            if ended or time.monotonic() > deadline:
                raise ClusterError("\n".join([*(ended or [otherwise]), self.tails()]))
            time.sleep(0.05)

    def tails(self, lines: int = 15) -> str:
        """The ends of the daemons' logs."""
        logs = {name: (self.folder / f"{name}.log").read_text(errors="replace") for name in self.daemons}
        return "\n".join("\n".join([f"--- {name}", *log.splitlines()[-lines:]]) for name, log in logs.items())

    def run(self, *command: str, seconds: float = 60) -> str:
        """What a client prints. Raises ClusterError with its complaint if it fails."""
        done = subprocess.run(
            command,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise ClusterError(
                f"{' '.join(command)} ended with code {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def node(self) -> str:
        """The node's state in sinfo's words (idle, mixed, allocated, draining, ...), or "" while nobody answers."""
        try:
            return self.run("sinfo", "--noheader", "--partition=main", "--format=%T", seconds=2).strip()
        except (ClusterError, subprocess.TimeoutExpired):
            return ""

    def submit(self, *words: str) -> str:
        """Hands words to sbatch; the job's number."""
        return self.run("sbatch", "--parsable", *words).strip()

    def jobs(self, job: str) -> list[dict[str, str]]:
        """What scontrol says of a job, or of each job of an array; requeued or finished ones too."""
        lines = self.run("scontrol", "show", "job", "--oneliner", job).splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def states(self, job: str) -> list[str]:
        """The state of each element, in the array's order; of a single job its one."""
        found = sorted(self.jobs(job), key=lambda each: int(each.get("ArrayTaskId", "0").split("-")[0]))
        return [each["JobState"] for each in found]

    def wait(self, job: str, *states: str, seconds: float = 60) -> None:
        """Until each element of the job is in one of the states. Raises ClusterError when it takes longer."""
        deadline = time.monotonic() + seconds
        while not set(found := self.states(job)) <= set(states):
            if time.monotonic() > deadline:
                raise ClusterError(f"job {job} is {found}, not {states}, after {seconds} s\n{self.tails()}")
            time.sleep(0.1)

    def history(self, job: str) -> list[str]:
        """How each of a single job's lives ended, requeued ones included, oldest first: NODE_FAIL, COMPLETED, ..."""
        lines = (self.folder / "completed").read_text().splitlines()
        ended = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return [each["JobState"] for each in ended if each["JobId"] == job]

    def idle(self) -> None:
        """Cancels all jobs, puts the node back in service and waits until it is idle."""
        self.run("scancel", "--user=root")
        if any(word in self.node() for word in ("drain", "down")):
            self.run("scontrol", "update", "nodename=localhost", "state=resume")
        self._until(lambda: self.node() == "idle", time.monotonic() + 60, "the node did not become idle")

    @contextlib.contextmanager
    def without(self, setting: str):
        """Slurm without a line of its configuration."""
        conf = Path(self.env["SLURM_CONF"])
        usual = conf.read_text()
        assert f"\n{setting}\n" in usual
        try:
            conf.write_text(usual.replace(f"\n{setting}\n", "\n"))
            self.run("scontrol", "reconfigure")
            yield
        finally:
            conf.write_text(usual)
            self.run("scontrol", "reconfigure")

    def close(self) -> None:
        """Kills the daemons and whatever is left of their jobs, and removes the folder. May be called twice."""
        deadline = time.monotonic() + 10
        for daemon in self.daemons.values():
            daemon.kill()
        while left := processes(self.folder):
            if time.monotonic() > deadline:
                raise ClusterError(f"processes {left} of {self.folder} outlive SIGKILL")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        for daemon in self.daemons.values():
            daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listening(host: str) -> tuple[str, str]:
    """The daemons' address, and the setting that has them listen there alone.

    Slurm can be confined only to the address its host's name resolves to. Where that is none of loopback's, the daemons
    listen everywhere, and are guarded by the cluster's own munge key.
    """
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(host)
        if address.startswith("127."):
            return address, "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
    return "127.0.0.1", ""


def free_ports(n: int) -> list[int]:
    """Ports nobody listens on, below those the kernel gives to outgoing connections, lest one is taken meanwhile."""
    held: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        while len(held) < n:
            here = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                here.bind(("127.0.0.1", random.randrange(10_000, 32_000)))
                held.append(here)
        return [each.getsockname()[1] for each in held]


def processes(folder: Path) -> list[int]:
    """All that runs for the cluster of a folder: what has its SLURM_CONF in the environment, as jobs do, or was started
    there, as slurmstepd was, which wipes its environment; and their children."""
    mark = f"SLURM_CONF={folder}/slurm.conf".encode()
    children: dict[int, list[int]] = {}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            pid, stat = int(process.name), (process / "stat").read_text()
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(pid)
            told = mark in (process / "environ").read_bytes().split(b"\0")
            if pid != os.getpid() and (told or str((process / "cwd").readlink()).startswith(str(folder))):
                found.append(pid)
    for pid in found:  # grows meanwhile
        found += [child for child in children.get(pid, ()) if child not in found]
    return found
