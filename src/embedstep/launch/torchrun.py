"""How the workers are started, as a value: it can be printed, compared and stored before anything runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from embedstep.launch.nodes import ALONE, NodeGroup
from embedstep.request.launch import Launch

_OTHER_LAUNCHERS = ("PET_", "TORCHELASTIC_", "OMPI_", "PMI_", "SLURM_", "MPI_")
"""Prefixes by which torchrun, accelerate and MPI would take their place in another job's world from us."""
_LEFT_OVERS = {
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "NODE_RANK",
    "RANK",
    "ROLE_NAME",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "WORLD_SIZE",
}
_OPEN_RUN = "MLFLOW_RUN_ID"
"""Names the run that an orchestrator has opened; the launcher records in it, and nothing in the workers is to."""
ASKED_GPUS = "EMBEDSTEP_GPUS"
"""Variable with the GPUs that the author of a pipeline has asked for, for the step to compare."""
_CHANGES_A_RUN = ("ACCELERATE_", "FSDP_")
"""Prefixes by which accelerate changes precision, device or wrapping behind the request's back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """What a node has to compute on.

    Attributes:
        gpus: visible GPUs.
        cores: usable CPU cores.
    """

    gpus: int
    cores: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchPlan:
    """One command and its environment.

    Attributes:
        argv: program and arguments.
        env: the whole environment of the child.
        keep_open: descriptors that the child holds too, such as that of a lock.
        hears_ctrl_c: whether a person's Ctrl-C goes on to it as what it is, and not as SIGTERM.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    keep_open: tuple[int, ...] = ()
    hears_ctrl_c: bool = False


def visible_gpus(environ: Mapping[str, str], device_folder: Path = Path("/dev")) -> int:
    """Count the GPUs that a CUDA program would see here, without loading CUDA.

    The rule is CUDA's own: `CUDA_VISIBLE_DEVICES` lists them, and the list ends at the first negative entry; without
    the variable every `/dev/nvidia<number>` counts.
    """
    present = sum(path.name.removeprefix("nvidia").isdecimal() for path in device_folder.glob("nvidia*"))
    return len(_listed_gpus(environ, present)) if present else 0


def _listed_gpus(environ: Mapping[str, str], present: int) -> list[str]:
    """Return the GPUs by which `CUDA_VISIBLE_DEVICES` names the visible ones of those that are present."""
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(number) for number in range(present)]
    entries = [part.strip() for part in listed.split(",") if part.strip()]
    return list(takewhile(lambda entry: not entry.startswith("-"), entries))


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the CPU cores that this process may use: those it is bound to, and no more than its container's limit.

    A pod that is limited to 4 cores of 64 sees them all, and 64 threads on 4 cores wait for each other. The limit is
    the quota of CPU time in each period, which the kernel tells in `cpu.max` (cgroup v2) or in two files (v1).
    """
    bound = len(os.sched_getaffinity(0))
    for quota, period in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            told = " ".join((cgroup / name).read_text() for name in (quota, period) if name).split()
        except OSError:
            continue
        if told[0].isdecimal():  # "max" and -1 stand for no limit
            return max(1, min(bound, int(told[0]) // int(told[1])))
    return bound


def gpus_of_a_node(launch: Launch) -> int:
    """Return the GPUs that each pod asks for, by any vendor's name of the resource (`nvidia.com/gpu`)."""
    asked = {} if launch.trainjob is None else launch.trainjob.resources
    return sum(int(amount) for name, amount in asked.items() if name.endswith("/gpu") and amount.isdecimal())


def devices_of(launch: Launch, here: Devices) -> Devices:
    """Return what a node of the training has: this machine, or what the pods ask for."""
    return here if launch.kind == "local" else replace(here, gpus=gpus_of_a_node(launch))


def processes_per_node(launch: Launch, devices: Devices, *, use_cpu: bool) -> int:
    """Return how many processes a node starts: as asked, or one for each GPU, or one on the CPU."""
    if launch.processes_per_node != "auto":
        return launch.processes_per_node
    return 1 if use_cpu else max(devices.gpus, 1)


def plan_launch(
    worker: Sequence[str],
    *,
    report_to: str,
    processes: int,
    on_cpu: bool,
    devices: Devices,
    python: str,
    environ: Mapping[str, str],
    group: NodeGroup = ALONE,
    own_folders: bool = False,
    meeting_seconds: float = 0,
    grace_seconds: float = 30,
) -> LaunchPlan:
    """Plan torchrun on one node: alone with a free port that it picks itself, else at the first node of the group.

    Args:
        worker: module and arguments of the worker, what follows `-m`.
        report_to: output folder, where the codes and signals of failed ranks are written.
        processes: workers to start on this node.
        on_cpu: train on the CPU. The C library then keeps memory that was freed (MALLOC_MMAP_MAX_,
            MALLOC_TRIM_THRESHOLD_), unless the caller set them.
        devices: for the share of cores that each worker gets (OMP_NUM_THREADS), unless the caller set one.
        python: the interpreter.
        environ: the environment to inherit, less what other launchers left in it.
        group: the nodes that train together.
        own_folders: whether each of them has an output folder of its own, on a disk that the others do not see.
        meeting_seconds: how long the nodes wait for each other.
        grace_seconds: how long the workers may take to save and end when they are told to.
    """
    env = {name: value for name, value in environ.items() if not _is_foreign(name)}
    env.setdefault("OMP_NUM_THREADS", str(max(1, devices.cores // processes)))
    # Fast tokenizers warn once for each forked loader worker unless they are told which way to go.
    env.setdefault("TOKENIZERS_PARALLELISM", "true")
    # The libraries' own bars (model card, loading) would break through the one that shows the training.
    env.setdefault("TQDM_DISABLE", "1")
    if on_cpu:
        # glibc gives blocks of some size back to the kernel when they are freed, and gradients come again in every
        # step: without this half of the time of a static embedding goes into pages that are handed out and zeroed.
        env.setdefault("MALLOC_MMAP_MAX_", "0")
        env.setdefault("MALLOC_TRIM_THRESHOLD_", "-1")
    torchrun = (*_meeting_of(group), f"--nproc-per-node={processes}", "-m", *worker)
    if 0 < processes < devices.gpus:
        # One process that sees several GPUs would split each batch over them and be slower than on one.
        env["CUDA_VISIBLE_DEVICES"] = ",".join(_listed_gpus(environ, devices.gpus)[:processes])
    argv = (
        python,
        "-m",
        "embedstep.worker.torchrun.agent",
        report_to,
        "own" if own_folders else "shared",
        f"{meeting_seconds:g}",
        f"{grace_seconds:g}",
        *torchrun,
    )
    return LaunchPlan(argv=argv, env=env, hears_ctrl_c=True)


def _meeting_of(group: NodeGroup) -> tuple[str, ...]:
    """Return where torchrun's agents meet. Every flag is written out: left to itself it would take a group of one."""
    if group.nodes == 1:
        # By its own name a machine without a network cannot be reached, not even by itself.
        return ("--standalone", "--local-addr=127.0.0.1")
    return (
        f"--nnodes={group.nodes}", f"--node-rank={group.rank}", "--rdzv-backend=static",
        f"--master-addr={group.address}", f"--master-port={group.port}",
    )  # fmt: skip


def _is_foreign(name: str) -> bool:
    return name in _LEFT_OVERS or name == _OPEN_RUN or name.startswith(_OTHER_LAUNCHERS + _CHANGES_A_RUN)
