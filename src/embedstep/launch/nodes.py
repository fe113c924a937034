"""The nodes that train together: the place of this one among them, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from embedstep.errors import CannotStartError, InvalidRequestError, Problem
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.schema import TrainRequest
from embedstep.runtime.text import count

PROCESSES = "PET_NPROC_PER_NODE"
JOB, POD = "EMBEDSTEP_JOB", "EMBEDSTEP_POD"
"""Variables in which our manifest puts the name of the job and the uid of the pod."""
_INDEX = "JOB_COMPLETION_INDEX"
"""Kubernetes sets it in every pod of an indexed Job, even where the pods do not train together."""
_VARIABLES = {
    "nodes": ("PET_NNODES", "ZENML_KUBERNETES_POD_COUNT"),
    "rank": ("PET_NODE_RANK", _INDEX),
    "address": ("PET_MASTER_ADDR", "ZENML_KUBERNETES_MAIN_ADDRESS"),
    "port": ("PET_MASTER_PORT", "ZENML_KUBERNETES_MAIN_PORT"),
    "job": (JOB, "PET_RDZV_ID", "ZENML_KUBERNETES_MAIN_ADDRESS"),
}
"""The variables of each fact: the options of torchrun as Kubeflow Trainer sets them, or those that the step operator of
ZenML sets in an indexed Job, whose address is a new name each time and so identifies the job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeInfo:
    """The place of this node among all that train together.

    Attributes:
        nodes: nodes in all.
        rank: number of this node, from 0.
        address: host name or address of the first node.
        port: port on the first node for torchrun's rendezvous; the next port is ours.
        job: name of the launch, the same on all nodes and different for each launch.
        pod: uid of the pod, which differs from that of its replacement.
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
"""A node that trains alone."""
MISSING_NODE_ENV = (
    "the environment does not say which node this is: set PET_NNODES, PET_NODE_RANK (or JOB_COMPLETION_INDEX), "
    "PET_MASTER_ADDR, PET_MASTER_PORT and PET_RDZV_ID (a new one for each launch) and start the same run on each node, "
    "or write kind: trainjob"
)


def read_node_info(environ: Mapping[str, str]) -> NodeInfo:
    """Read the place of this node among all; without the variables it is a single node.

    Raises:
        ValueError: only some of the variables are set, one is no integer, or two contradict each other.
    """
    found_in = {fact: next((one for one in names if environ.get(one)), "") for fact, names in _VARIABLES.items()}
    present = [name for fact, name in found_in.items() if name and name != _INDEX and fact != "job"]
    if not present:
        return SINGLE_NODE
    if environ.get(found_in["nodes"]) == "1" and found_in["job"] != JOB:
        return SINGLE_NODE
    if missing := [" or ".join(_VARIABLES[fact]) for fact, name in found_in.items() if not name]:
        raise ValueError(
            f"{', '.join(missing)} not set, and {', '.join(present)} {'is' if len(present) == 1 else 'are'}"
        )
    found = {fact: environ[name] for fact, name in found_in.items()}
    numbers = {fact: found[fact] for fact in ("nodes", "rank", "port")}
    if wrong := [f"{found_in[fact]}={text}" for fact, text in numbers.items() if not text.isdecimal()]:
        raise ValueError(f"{', '.join(wrong)}: needs an integer")
    nodes, rank, port = map(int, numbers.values())
    if rank >= nodes:
        raise ValueError(f"{found_in['rank']}={rank} must be less than {found_in['nodes']}={nodes}")
    pod = environ.get(POD, "")
    return NodeInfo(nodes=nodes, rank=rank, address=found["address"], port=port, job=found["job"], pod=pod)


def is_pod(environ: Mapping[str, str]) -> bool:
    """Whether this process runs in a pod of a TrainJob, and is not the one that submits it."""
    return JOB in environ


def find_node(request: TrainRequest, environ: Mapping[str, str]) -> NodeInfo:
    """Return the place of this node among those that train the request.

    Raises:
        CannotStartError: the environment is incomplete, or has another number of nodes than the request.
        InvalidRequestError: the request is for several nodes, and the environment does not say which one this is.
    """
    try:
        node = read_node_info(environ)
    except ValueError as error:
        raise CannotStartError(f"the variables of this node are wrong: {error}") from None
    if node == SINGLE_NODE and request.launch.nodes != 1:
        raise InvalidRequestError([Problem("launch.nodes", f"is {request.launch.nodes}, and {MISSING_NODE_ENV}")])
    if node.nodes != request.launch.nodes:
        raise CannotStartError(f"launch.nodes is {request.launch.nodes}, and the environment says {node.nodes}")
    if request.launch.kind == "local" and node != SINGLE_NODE:
        # The same launch name may be used for another request, whose status file must not be taken for this one's.
        return replace(node, job=f"{node.job}/{request_fingerprint(request)[:12]}")
    return node


def processes_problem(environ: Mapping[str, str], *, processes: int, gpus: int) -> str | None:
    """Return what is wrong with the number of processes that the controller of Trainer sets, or None.

    For a runtime without a GPU in its limits, or a job that sets only the memory, Trainer silently sets 1, while the
    pods hold all their GPUs.

    Args:
        environ: the environment of this node.
        processes: processes that the request starts on it.
        gpus: GPUs that are visible on it; 0 if it trains on the CPU.
    """
    given = environ.get(PROCESSES, "")
    if given.isdecimal() and int(given) != processes:
        return f"the controller sets {PROCESSES}={given}, and the request starts {processes} processes on each node"
    if gpus > processes:
        return (
            f"{gpus} GPUs are visible and the request starts {count(processes, 'process')} on each node; write "
            f"launch.trainjob.resources: {{nvidia.com/gpu: '{gpus}'}} and launch.processes_per_node: {gpus}, or let "
            "the runtime request fewer"
        )
    return None
