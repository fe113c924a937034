"""The nodes that train together: what whoever starts them tells each of them, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from embedstep.errors import CannotStartError, InvalidRequestError, Problem
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.schema import TrainRequest

PROCESSES = "PET_NPROC_PER_NODE"
JOB, POD = "EMBEDSTEP_JOB", "EMBEDSTEP_POD"
"""Variables by which our manifest tells the name of the job and the uid of the pod."""
_INDEX = "JOB_COMPLETION_INDEX"
"""Set in every pod of an indexed Job of Kubernetes, also where each pod does something of its own."""
_VARIABLES = {
    "nodes": ("PET_NNODES", "ZENML_KUBERNETES_POD_COUNT"),
    "rank": ("PET_NODE_RANK", _INDEX),
    "address": ("PET_MASTER_ADDR", "ZENML_KUBERNETES_MAIN_ADDRESS"),
    "port": ("PET_MASTER_PORT", "ZENML_KUBERNETES_MAIN_PORT"),
    "job": (JOB, "PET_RDZV_ID", "ZENML_KUBERNETES_MAIN_ADDRESS"),
}
"""By what a node is told its place: the options of torchrun as variables, as Kubeflow Trainer sets them and torchrun
reads them, or what the step operator of ZenML sets in an indexed Job, whose address has a name of its own each time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeInfo:
    """The place of this node among all that train together.

    Attributes:
        nodes: nodes in all.
        rank: number of this node, from 0.
        address: host name or address of the first node.
        port: port on the first node at which torchrun's agents meet; the next one is ours.
        job: name of the launch, the same for all nodes and another one for another launch.
        pod: uid of the pod, which tells it from one that takes its place.
    """

    nodes: int
    rank: int
    address: str
    port: int
    job: str = ""
    pod: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this node plans, records and writes the result for all."""
        return self.rank == 0


SINGLE_NODE = NodeInfo(nodes=1, rank=0, address="127.0.0.1", port=29500)
"""A node that trains by itself."""
MISSING_NODE_ENV = (
    "nobody has said which of them this is: set PET_NNODES, PET_NODE_RANK (or JOB_COMPLETION_INDEX), PET_MASTER_ADDR, "
    "PET_MASTER_PORT and PET_RDZV_ID (another one for each launch), the same run on each, or write kind: trainjob"
)


def read_node_info(environ: Mapping[str, str]) -> NodeInfo:
    """Read the place of this node; without the variables it is alone.

    Raises:
        ValueError: a variable is missing beside others, is no whole number, or contradicts another.
    """
    message = {fact: next((one for one in names if environ.get(one)), "") for fact, names in _VARIABLES.items()}
    present = [name for fact, name in message.items() if name and name != _INDEX and fact != "job"]
    if not present:
        return SINGLE_NODE
    if environ.get(message["nodes"]) == "1" and message["job"] != JOB:
        return SINGLE_NODE
    if missing := [" or ".join(_VARIABLES[fact]) for fact, name in message.items() if not name]:
        raise ValueError(
            f"{', '.join(missing)} not set, and {', '.join(present)} {'is' if len(present) == 1 else 'are'}"
        )
    found = {fact: environ[name] for fact, name in message.items()}
    numbers = {fact: found[fact] for fact in ("nodes", "rank", "port")}
    if wrong := [f"{message[fact]}={text}" for fact, text in numbers.items() if not text.isdecimal()]:
        raise ValueError(f"{', '.join(wrong)}: needs a whole number")
    nodes, rank, port = map(int, numbers.values())
    if rank >= nodes:
        raise ValueError(f"{message['rank']}={rank} is outside a group of {nodes} nodes")
    pod = environ.get(POD, "")
    return NodeInfo(nodes=nodes, rank=rank, address=found["address"], port=port, job=found["job"], pod=pod)


def is_pod(environ: Mapping[str, str]) -> bool:
    """Whether this is a pod of a TrainJob that our manifest describes, and not what submits one."""
    return JOB in environ


def find_node(request: TrainRequest, environ: Mapping[str, str]) -> NodeInfo:
    """Return the place of this node among those that train the request.

    Raises:
        CannotStartError: the environment names no place, or one in another group than the request's.
        InvalidRequestError: the request is for several nodes, and the environment is that of one by itself.
    """
    try:
        node = read_node_info(environ)
    except ValueError as error:
        raise CannotStartError(f"this node does not know its place: {error}") from None
    if node == SINGLE_NODE and request.launch.nodes != 1:
        raise InvalidRequestError([Problem("launch.nodes", f"is {request.launch.nodes}, and {MISSING_NODE_ENV}")])
    if node.nodes != request.launch.nodes:
        raise CannotStartError(f"launch.nodes is {request.launch.nodes}, and the environment says {node.nodes}")
    if request.launch.kind == "local" and node != SINGLE_NODE:
        # What was told of another request by the same name of a launch is none of ours.
        return replace(node, job=f"{node.job}/{request_fingerprint(request)[:12]}")
    return node


def processes_problem(environ: Mapping[str, str], *, processes: int, gpus: int) -> str | None:
    """Say what is wrong with the processes that the controller tells, or None.

    A runtime without a GPU in its limits, or a job that raises only the memory, makes Trainer say 1, silently, while
    the pods hold all their GPUs.

    Args:
        environ: the environment of this node.
        processes: processes that the request starts on it.
        gpus: GPUs that are visible on it; 0 where it trains on the CPU.
    """
    message = environ.get(PROCESSES, "")
    if message.isdecimal() and int(message) != processes:
        return f"the controller says {PROCESSES}={message}, and the request starts {processes} processes on each node"
    if gpus > processes:
        return (
            f"{gpus} GPUs are visible and the request starts {processes} processes on each node; write "
            f"launch.trainjob.resources: {{nvidia.com/gpu: '{gpus}'}} and launch.processes_per_node: {gpus}, or have "
            "the runtime ask for fewer"
        )
    return None
