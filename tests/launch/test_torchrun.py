import json
from collections.abc import Callable
from typing import Any

import pytest

from embedstep.launch.torchrun import build_launch_command, processes_per_node
from embedstep.request.loading import load_request
from embedstep.runtime.devices import Devices

CPU = Devices(gpus=0, cores=8)


def launch(environ: dict[str, str], processes: int = 2) -> dict[str, str]:
    plan = build_launch_command(
        ("embedstep.worker", "out"),
        report_to="out",
        processes=processes,
        on_cpu=True,
        devices=CPU,
        python="python",
        environ=environ,
    )
    return dict(plan.env)


def test_the_command_is_torchrun_on_a_free_port() -> None:
    plan = build_launch_command(
        ("embedstep.worker", "out"),
        report_to="out",
        processes=2,
        on_cpu=True,
        devices=CPU,
        python="/bin/python",
        environ={},
    )
    assert plan.argv == (
        "/bin/python", "-m", "embedstep.worker.torchrun.agent", "out", "shared", "0", "30", "0",
        "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2", "-m", "embedstep.worker", "out",
    )  # fmt: skip


def test_cores_are_shared_out() -> None:
    assert launch({})["OMP_NUM_THREADS"] == "4"
    assert launch({}, processes=16)["OMP_NUM_THREADS"] == "1"
    assert launch({"OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3"


def test_what_other_launchers_left_is_cleaned_away() -> None:
    environ = {
        "PATH": "/bin", "NODE_RANK": "1", "MASTER_PORT": "29500", "PET_NNODES": "2", "RANK": "3", "WORLD_SIZE": "4",
        "SLURM_PROCID": "1", "ACCELERATE_MIXED_PRECISION": "fp16", "FSDP_VERSION": "2", "HF_TOKEN": "x",
    }  # fmt: skip
    plan = build_launch_command(
        ("w",), report_to="out", processes=1, on_cpu=True, devices=CPU, python="python", environ=environ
    )
    ours = {"OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "TQDM_DISABLE", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"}
    assert set(plan.env) == {"PATH", "HF_TOKEN"} | ours


@pytest.mark.parametrize(
    ("on_cpu", "environ", "value"), [(True, {}, "0"), (True, {"MALLOC_MMAP_MAX_": "9"}, "9"), (False, {}, None)]
)
def test_memory_that_was_freed_is_kept_on_the_cpu(on_cpu: bool, environ: dict[str, str], value: str | None) -> None:
    plan = build_launch_command(
        ("w",), report_to="out", processes=1, on_cpu=on_cpu, devices=CPU, python="python", environ=environ
    )
    assert plan.env.get("MALLOC_MMAP_MAX_") == value


@pytest.mark.parametrize(
    ("asked", "gpus", "use_cpu", "processes"),
    [("auto", 0, False, 1), ("auto", 4, False, 4), ("auto", 4, True, 1), (2, 0, False, 2), (3, 4, False, 3)],
)
def test_processes(
    request_of: Callable[..., dict[str, Any]], asked: object, gpus: int, use_cpu: bool, processes: int
) -> None:
    document = request_of(launch={"processes_per_node": asked}, arguments={"use_cpu": use_cpu})
    assert processes_per_node(load_request(json.dumps(document)), Devices(gpus=gpus, cores=2)) == processes


@pytest.mark.parametrize(
    ("environ", "processes", "visible"),
    [
        ({}, 4, None),
        ({}, 2, "0,1"),
        ({"CUDA_VISIBLE_DEVICES": "3,5,6,7"}, 1, "3"),
        ({"CUDA_VISIBLE_DEVICES": "3,5,6,7"}, 4, "3,5,6,7"),
    ],
)
def test_a_process_sees_no_gpu_that_it_does_not_train_on(
    environ: dict[str, str], processes: int, visible: str | None
) -> None:
    plan = build_launch_command(
        ("w",),
        report_to="out",
        processes=processes,
        on_cpu=True,
        devices=Devices(gpus=4, cores=8),
        python="python",
        environ=environ,
    )
    assert plan.env.get("CUDA_VISIBLE_DEVICES") == visible
