"""How the workers are started, as a value: it can be printed, compared and stored before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from embedstep.launch.nodes import SINGLE_NODE, NodeInfo
from embedstep.request.launch import Launch
from embedstep.request.schema import TRACKING_RUN_ID
from embedstep.runtime.devices import Devices, listed_gpus
from embedstep.runtime.process import LaunchCommand

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
_CHANGES_A_RUN = ("ACCELERATE_", "FSDP_")
"""Prefixes by which accelerate changes precision, device or wrapping behind the request's back."""


def requested_gpus(launch: Launch) -> int:
    """Return the GPUs that each pod asks for, by any vendor's name of the resource (`nvidia.com/gpu`)."""
    asked = {} if launch.trainjob is None else launch.trainjob.resources
    return sum(int(amount) for name, amount in asked.items() if name.endswith("/gpu") and amount.isdecimal())


def node_devices(launch: Launch, here: Devices) -> Devices:
    """Return what a node of the training has: this machine, or what the pods ask for."""
    return here if launch.kind == "local" else replace(here, gpus=requested_gpus(launch))


def processes_per_node(launch: Launch, devices: Devices, *, use_cpu: bool) -> int:
    """Return how many processes a node starts: as asked, or one for each GPU, or one on the CPU."""
    if launch.processes_per_node != "auto":
        return launch.processes_per_node
    return 1 if use_cpu else max(devices.gpus, 1)


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
) -> LaunchCommand:
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
        node: the nodes that train together.
        own_folders: whether each of them has an output folder of its own, on a disk that the others do not see.
        join_timeout_seconds: how long the nodes wait for each other.
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
    torchrun = (*_meeting_of(node), f"--nproc-per-node={processes}", "-m", *worker)
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
        *torchrun,
    )
    return LaunchCommand(argv=argv, env=env, forward_sigint=True)


def _meeting_of(node: NodeInfo) -> tuple[str, ...]:
    """Return where torchrun's agents meet. Every flag is written out: left to itself it would take a group of one."""
    if node.nodes == 1:
        # By its own name a machine without a network cannot be reached, not even by itself.
        return ("--standalone", "--local-addr=127.0.0.1")
    return (
        f"--nnodes={node.nodes}", f"--node-rank={node.rank}", "--rdzv-backend=static",
        f"--master-addr={node.address}", f"--master-port={node.port}",
    )  # fmt: skip


def _is_foreign(name: str) -> bool:
    return name in _LEFT_OVERS or name == TRACKING_RUN_ID or name.startswith(_OTHER_LAUNCHERS + _CHANGES_A_RUN)
