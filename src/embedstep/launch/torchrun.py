"""The command that starts the ranks of a node, as a value: it can be printed and compared before anything runs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from embedstep.launch.nodes import SINGLE_NODE, NodeInfo
from embedstep.request.launch import Launch
from embedstep.request.schema import TRACKING_RUN_ID, TrainRequest
from embedstep.runtime.devices import Devices, listed_gpus
from embedstep.runtime.log import LOG_VARIABLE
from embedstep.runtime.process import LaunchCommand

_OTHER_LAUNCHERS = ("PET_", "TORCHELASTIC_", "OMPI_", "PMI_", "SLURM_", "MPI_")
"""Prefixes of variables from which torchrun, accelerate and MPI would take the rank and world of another job."""
_OTHER_WORLD = {
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
_CHANGES_A_RUN = ("ACCELERATE_", "FSDP_")
"""Prefixes of variables by which accelerate changes precision, device or wrapping without the request."""


def requested_gpus(launch: Launch) -> int:
    """Return the GPUs that each pod requests, of any vendor (`nvidia.com/gpu`, `amd.com/gpu`)."""
    asked = {} if launch.trainjob is None else launch.trainjob.resources
    return sum(int(amount) for name, amount in asked.items() if name.endswith("/gpu") and amount.isdecimal())


def node_devices(launch: Launch, here: Devices) -> Devices:
    """Return what each node of the training has: this machine, or what the pods request."""
    return here if launch.kind == "local" else replace(here, gpus=requested_gpus(launch))


def processes_per_node(request: TrainRequest, here: Devices) -> int:
    """Return how many processes each node starts: as requested, else one per GPU, or one on the CPU.

    Args:
        request: the request.
        here: what this machine has, which counts unless pods do the work.
    """
    if request.launch.processes_per_node != "auto":
        return request.launch.processes_per_node
    return 1 if request.arguments.use_cpu else max(node_devices(request.launch, here).gpus, 1)


def build_launch_command(
    worker: Sequence[str],
    *,
    report_to: str,
    processes: int,
    on_cpu: bool,
    devices: Devices,
    python: str,
    environ: Mapping[str, str],
    node: NodeInfo = SINGLE_NODE,
    own_folders: bool = False,
    join_timeout_seconds: float = 0,
    grace_seconds: float = 30,
    max_restarts: int = 0,
) -> LaunchCommand:
    """Return the torchrun command of one node, with rendezvous on a free local port or at the first of several nodes.

    Args:
        worker: module and arguments of the worker, what follows `-m`.
        report_to: output folder, where the exit codes and signals of failed ranks are saved.
        processes: workers to start on this node.
        on_cpu: train on the CPU. The C library then keeps memory that was freed (MALLOC_MMAP_MAX_,
            MALLOC_TRIM_THRESHOLD_), unless the caller set them.
        devices: for the cores that each worker gets (OMP_NUM_THREADS), unless the caller set it.
        python: the interpreter.
        environ: the environment to inherit, without the variables of other launchers.
        node: this node among all.
        own_folders: whether each node has its own output folder, on a disk that the others do not see.
        join_timeout_seconds: how long the nodes wait for each other.
        grace_seconds: how long the workers may take to save and exit after a signal.
        max_restarts: how often the request allows all nodes to start again.
    """
    env = {name: value for name, value in environ.items() if not _is_foreign(name)}
    env.setdefault("OMP_NUM_THREADS", str(max(1, devices.cores // processes)))
    # Otherwise fast tokenizers warn once for each forked loader worker.
    env.setdefault("TOKENIZERS_PARALLELISM", "true")
    if env.get("TQDM_DISABLE", "0").lower() not in ("", "0", "false"):
        env.setdefault(LOG_VARIABLE, "lines")  # the user wants no bars, which includes ours
    # The libraries' own progress bars (model card, loading) would break the one of the training.
    env.setdefault("TQDM_DISABLE", "1")
    if on_cpu:
        # glibc returns large freed blocks to the kernel, and gradients are allocated in every step: without this, half
        # the time of a static embedding goes into mapping and zeroing pages.
        env.setdefault("MALLOC_MMAP_MAX_", "0")
        env.setdefault("MALLOC_TRIM_THRESHOLD_", "-1")
    torchrun = (*_rendezvous_options(node), f"--nproc-per-node={processes}", "-m", *worker)
    if 0 < processes < devices.gpus:
        # One process that sees several GPUs would split each batch over them and be slower than on one.
        env["CUDA_VISIBLE_DEVICES"] = ",".join(listed_gpus(environ, devices.gpus)[:processes])
    argv = (
        python,
        "-m",
        "embedstep.worker.torchrun.agent",
        report_to,
        "own" if own_folders else "shared",
        f"{join_timeout_seconds:g}",
        f"{grace_seconds:g}",
        str(max_restarts),
        *torchrun,
    )
    return LaunchCommand(argv=argv, env=env, forward_sigint=True)


def _rendezvous_options(node: NodeInfo) -> tuple[str, ...]:
    """Return torchrun's options for its rendezvous. All are explicit: by default it would assume a single node."""
    if node.nodes == 1:
        # A machine without a network cannot reach itself by its own host name.
        return ("--standalone", "--local-addr=127.0.0.1")
    job = re.sub(r"[^\w.-]", "-", node.job)  # torchrun makes a folder of this name
    return (
        f"--nnodes={node.nodes}", f"--node-rank={node.rank}", "--rdzv-backend=static", f"--rdzv-id={job}",
        f"--master-addr={node.address}", f"--master-port={node.port}",
    )  # fmt: skip


def _is_foreign(name: str) -> bool:
    return name in _OTHER_WORLD or name == TRACKING_RUN_ID or name.startswith(_OTHER_LAUNCHERS + _CHANGES_A_RUN)
