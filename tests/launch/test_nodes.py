"""A node's place among those that train together, as Kubeflow Trainer gives it."""

import pytest
from zenml.integrations.kubernetes.kube_utils import multi_pod_environment

from embedstep.launch.nodes import SINGLE_NODE, NodeInfo, processes_problem, read_node_info
from embedstep.launch.torchrun import build_launch_command
from embedstep.runtime.devices import Devices

OF_TWO = {
    "PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-node-0-0.job", "PET_MASTER_PORT": "29400",
    "PET_NPROC_PER_NODE": "8", "EMBEDSTEP_JOB": "job", "EMBEDSTEP_POD": "6f1c",
}  # fmt: skip


def test_the_place_of_a_node() -> None:
    assert read_node_info(OF_TWO) == NodeInfo(
        nodes=2, rank=1, address="job-node-0-0.job", port=29400, job="job", pod="6f1c"
    )


def test_a_node_alone() -> None:
    assert read_node_info({"PET_NPROC_PER_NODE": "auto"}) is SINGLE_NODE
    # A TrainJob of one node is known by its address, too.
    of_one = read_node_info(OF_TWO | {"PET_NNODES": "1", "PET_NODE_RANK": "0"})
    assert (of_one.nodes, of_one.address) == (1, "job-node-0-0.job")


def test_the_place_of_a_pod_in_an_indexed_job_of_zenml() -> None:
    """ZenML's own environment; the rank is in JOB_COMPLETION_INDEX, which Kubernetes sets."""
    given = multi_pod_environment("job-1f", "ml", 2) | {"JOB_COMPLETION_INDEX": "1"}
    address = "job-1f-0.job-1f.ml.svc"
    assert read_node_info(given) == NodeInfo(nodes=2, rank=1, address=address, port=29500, job=address)


def test_the_place_of_a_pod_in_an_indexed_job() -> None:
    given = {name: text for name, text in OF_TWO.items() if name not in ("PET_NODE_RANK", "EMBEDSTEP_JOB")}
    found = read_node_info({**given, "JOB_COMPLETION_INDEX": "1", "PET_RDZV_ID": "monday"})
    assert (found.rank, found.job) == (1, "monday")
    # In a Job whose pods do something of their own each, and as torchrun's only node.
    assert read_node_info({"JOB_COMPLETION_INDEX": "1"}) is SINGLE_NODE
    assert read_node_info({"PET_NNODES": "1", "PET_NODE_RANK": "0"}) is SINGLE_NODE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"PET_MASTER_ADDR": ""},
            "PET_MASTER_ADDR or ZENML_KUBERNETES_MAIN_ADDRESS not set, and PET_NNODES, PET_NODE_RANK, PET_MASTER_PORT",
        ),
        ({"EMBEDSTEP_JOB": ""}, "EMBEDSTEP_JOB or PET_RDZV_ID or ZENML_KUBERNETES_MAIN_ADDRESS not set"),
        ({"PET_NNODES": "1:4"}, "PET_NNODES=1:4: needs an integer"),
        ({"PET_NODE_RANK": "2"}, "PET_NODE_RANK=2 must be less than PET_NNODES=2"),
    ],
)
def test_a_place_that_cannot_be_is_reported(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_node_info(OF_TWO | change)


@pytest.mark.parametrize(
    ("message", "processes", "gpus", "problem"),
    [
        ("8", 8, 8, None),
        ("auto", 8, 8, None),
        ("1", 1, 0, None),
        ("1", 4, 4, "the controller sets PET_NPROC_PER_NODE=1, and the request starts 4 processes on each node"),
        ("1", 1, 4, "4 GPUs are visible and the request starts 1 process on each node"),
    ],
)
def test_processes_are_compared_with_what_is_there(
    message: str, processes: int, gpus: int, problem: str | None
) -> None:
    """Four GPUs, and the controller says one process."""
    found = processes_problem({"PET_NPROC_PER_NODE": message}, processes=processes, gpus=gpus)
    assert found is None if problem is None else str(found).startswith(problem)


def test_torchrun_is_given_every_option() -> None:
    """Torchrun without arguments forms a group of one on each node."""
    plan = build_launch_command(
        ("embedstep.worker", "out"), report_to="out", processes=4, on_cpu=True, devices=Devices(gpus=0, cores=8),
        python="python", environ=OF_TWO, node=read_node_info(OF_TWO), join_timeout_seconds=900,
    )  # fmt: skip
    assert plan.argv == (
        "python", "-m", "embedstep.worker.torchrun.agent", "out", "shared", "900", "30", "0", "--nnodes=2",
        "--node-rank=1", "--rdzv-backend=static", "--rdzv-id=job", "--master-addr=job-node-0-0.job",
        "--master-port=29400", "--nproc-per-node=4", "-m", "embedstep.worker", "out",
    )  # fmt: skip
    assert not [name for name in plan.env if name.startswith("PET_")]
